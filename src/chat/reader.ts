/**
 * @file Reads text that arrives in pieces. A grammar is a generator that yields when it needs more text, so what it finds
 * cannot depend on where the pieces were cut. Knows no tag and no format.
 */

/** Yields when more text is needed. */
export type Reading<Result = void> = Generator<void, Result, void>;

/** The text is not what the grammar wants. What was read so far is in `taken`, the rest in `held`. */
export class Mismatch extends Error {}

export interface Reader {
  /** What has arrived and was not taken yet. */
  readonly held: string;
  readonly isEnd: boolean;
  /** What was taken since `mark`. */
  readonly taken: string;
  push(text: string): void;
  end(): void;
  mark(): void;
  /** Takes the first `length` characters of what is held. */
  take(length: number): string;
  /** The next character; '' at the end. */
  peek(): Reading<string>;
  /** Takes the word if it comes next. */
  accept(word: string): Reading<boolean>;
  /** Takes the word. @throws Mismatch */
  expect(word: string): Reading;
  /** The same, but the text may end before or within the word. @throws Mismatch */
  expectOrEnd(word: string): Reading;
  /** Takes everything before the first match of the pattern. */
  upTo(pattern: RegExp): Reading<string>;
  /**
   * Gives everything before the first of the words, and returns that word, which stays; undefined at the end of the text. Where
   * several words begin at one place, the one listed first counts.
   */
  until(words: readonly string[], give: (text: string) => void): Reading<string | undefined>;
}

export function createReader(): Reader {
  let held = '';
  let taken = '';
  let isEnd = false;

  function take(length: number): string {
    const text = held.slice(0, length);
    held = held.slice(length);
    taken += text;
    return text;
  }

  function* accept(word: string): Reading<boolean> {
    while (!isEnd && held.length < word.length && word.startsWith(held)) yield;
    if (!held.startsWith(word)) return false;
    take(word.length);
    return true;
  }

  /** Where the first of the words begins, or may begin if the text is cut inside it. */
  function find(words: readonly string[]): { at: number; word?: string } {
    let first: { at: number; word?: string } = { at: held.length };
    for (const word of words) {
      const at = held.indexOf(word);
      const isWhole = at >= 0;
      const begin = isWhole || isEnd ? at : beginning(held, word);
      if (begin >= 0 && begin < first.at) first = { at: begin, word: isWhole ? word : undefined };
    }
    return first;
  }

  return {
    get held() {
      return held;
    },
    get taken() {
      return taken;
    },
    get isEnd() {
      return isEnd;
    },
    push(text) {
      held += text;
    },
    end() {
      isEnd = true;
    },
    mark() {
      taken = '';
    },
    take,
    *peek() {
      while (held === '' && !isEnd) yield;
      return held.slice(0, 1);
    },
    accept,
    *expect(word) {
      if (!(yield* accept(word))) throw new Mismatch();
    },
    *expectOrEnd(word) {
      if (yield* accept(word)) return;
      if (!isEnd || !word.startsWith(held)) throw new Mismatch();
      take(held.length);
    },
    *upTo(pattern) {
      for (let text = ''; ; ) {
        const at = held.search(pattern);
        text += take(at < 0 ? held.length : at);
        if (at >= 0 || isEnd) return text;
        yield;
      }
    },
    *until(words, give) {
      for (;;) {
        const { at, word } = find(words);
        // Half a surrogate pair would change when it is written as JSON.
        const isHalf = word === undefined && !isEnd && /[\ud800-\udbff]/.test(held.charAt(at - 1));
        const text = take(isHalf ? at - 1 : at);
        if (text !== '') give(text);
        if (word !== undefined || isEnd) return word;
        yield;
      }
    },
  };
}

/** Where the longest end of `text` that is also a beginning of `word` starts; -1 when there is none. */
function beginning(text: string, word: string): number {
  for (let n = Math.min(word.length - 1, text.length); n > 0; n--) {
    if (text.endsWith(word.slice(0, n))) return text.length - n;
  }
  return -1;
}
