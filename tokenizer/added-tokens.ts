/**
 * @file Added tokens: finds them in text, as Hugging Face tokenizers does: leftmost, longest, honouring lstrip, rstrip,
 * single_word and normalized. Reads the `added_tokens` section of tokenizer.json. Knows nothing of BPE.
 */
import { TokenizerError } from './errors.ts';
import {
  describe,
  readArray,
  readBoolean,
  readId,
  readObject,
  readString,
  rejectUnknownKeys,
  unsupported,
} from './json.ts';
import { hasLoneSurrogate } from './normalize.ts';

/** An entry of `added_tokens`, keys camelCased. */
export interface AddedToken {
  readonly id: number;
  readonly content: string;
  /** A control token: dropped by skipSpecial. `<think>` and `<tool_call>` are added tokens without being special. */
  readonly special: boolean;
  /** Matches only where no word character stands before or after it. */
  readonly singleWord: boolean;
  /** The match includes the white space before it (after it). */
  readonly lstrip: boolean;
  readonly rstrip: boolean;
  /** It is searched for in normalized text, in its normalized spelling; other tokens in the text as given. */
  readonly normalized: boolean;
}

/** A stretch of text, or an added token found in it. */
export type Segment = string | AddedToken;

/** Far above any real tokenizer, and low enough that finding tokens needs little memory and few steps for a character. */
const MAX_TOKENS = 2 ** 18;
const MAX_TEXT = 256;
const MAX_NODES = 2 ** 19;

const TOKEN_KEYS = ['id', 'content', 'single_word', 'lstrip', 'rstrip', 'normalized', 'special'];

/** @param json the `added_tokens` section of tokenizer.json; null or absent means none. */
export function readAddedTokens(json: unknown): AddedToken[] {
  const contents = new Set<string>();
  const ids = new Set<number>();
  const entries = readArray(json ?? [], 'added_tokens');
  checkCount(entries.length, 'added_tokens');
  return entries.map((entry, i) => {
    const where = `added_tokens[${i}]`;
    const token = readAddedToken(entry, where);
    const { content, id } = token;
    if (contents.has(content) || ids.has(id)) {
      throw new TokenizerError(
        `${where} is ${describe(content)} with the id ${id}, but another added token has this text or id already; ` +
          'supported: one id for a text and one text for an id',
      );
    }
    contents.add(content);
    ids.add(id);
    return token;
  });
}

export function checkCount(count: number, where: string): void {
  if (count > MAX_TOKENS) throw unsupported(where, `${count} tokens`, `at most ${MAX_TOKENS}`);
}

export function readAddedToken(entry: unknown, where: string): AddedToken {
  const object = readObject(entry, where);
  rejectUnknownKeys(object, where, TOKEN_KEYS);
  const content = readString(object.content, `${where}.content`);
  if (content === '' || hasLoneSurrogate(content)) {
    throw unsupported(`${where}.content`, content, 'a text that is not empty and is well-formed Unicode');
  }
  if (content.length > MAX_TEXT) {
    throw unsupported(`${where}.content`, content, `a text of at most ${MAX_TEXT} characters`);
  }
  const special = readBoolean(object.special, `${where}.special`, false);
  return Object.freeze({
    id: readId(object.id, `${where}.id`),
    content,
    special,
    singleWord: readBoolean(object.single_word, `${where}.single_word`, false),
    lstrip: readBoolean(object.lstrip, `${where}.lstrip`, false),
    rstrip: readBoolean(object.rstrip, `${where}.rstrip`, false),
    normalized: readBoolean(object.normalized, `${where}.normalized`, !special),
  });
}

/**
 * The added tokens of tokenizer.json with those of tokenizer_config.json, whose flags win, as in transformers. A token has the id
 * that tokenizer.json gives its text; `idOf` tells those of its vocabulary, which has `vocabSize` tokens.
 * @throws TokenizerError for an id that is not the next one: the library `tokenizers` would give another.
 */
export function mergeAddedTokens(
  own: readonly AddedToken[],
  more: readonly AddedToken[],
  vocabSize: number,
  idOf: (content: string) => number | undefined,
): AddedToken[] {
  let next = vocabSize;
  own.forEach(({ content, id }, i) => {
    if (idOf(content) === undefined && id !== next) {
      throw unsupported(`added_tokens[${i}].id`, id, `${next}, the next one after model.vocab`);
    }
    next = Math.max(next, id + 1);
  });
  const merged = new Map(own.map((token) => [token.content, token]));
  for (const token of more) {
    const id = merged.get(token.content)?.id ?? idOf(token.content) ?? token.id;
    merged.set(token.content, Object.freeze({ ...token, id }));
  }
  return [...merged.values()];
}

interface TrieNode {
  children: Map<number, TrieNode> | undefined;
  token: AddedToken | undefined;
}

const isWhiteSpace = (text: string, i: number): boolean => /\p{White_Space}/u.test(text.charAt(i));
const WORD_CHARACTER = '[\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\p{Join_Control}]';
const ENDS_WITH_WORD = new RegExp(`${WORD_CHARACTER}$`, 'u');
const STARTS_WITH_WORD = new RegExp(`^${WORD_CHARACTER}`, 'u');

/** Cuts a set of added tokens out of text. */
export class AddedTokenFinder {
  private readonly root: TrieNode = { children: undefined, token: undefined };
  /** Finds the next UTF-16 unit with which a token can begin. */
  private readonly firstUnits: RegExp;

  /** @param normalize how the searched texts are normalized; applied to the tokens' texts too. */
  constructor(tokens: readonly AddedToken[], normalize: (text: string) => string) {
    let numNodes = 0;
    for (const token of tokens) {
      const content = normalize(token.content);
      let node = this.root;
      for (let i = 0; i < content.length; i++) {
        node.children ??= new Map();
        let child = node.children.get(content.charCodeAt(i));
        if (child === undefined) {
          if (++numNodes > MAX_NODES) {
            throw unsupported(
              'added_tokens',
              `${tokens.length} tokens`,
              `texts of ${MAX_NODES} characters in all`,
            );
          }
          child = { children: undefined, token: undefined };
          node.children.set(content.charCodeAt(i), child);
        }
        node = child;
      }
      node.token ??= token;
    }
    const units = [...(this.root.children?.keys() ?? [])].map(
      (unit) => `\\u${unit.toString(16).padStart(4, '0')}`,
    );
    this.firstUnits = new RegExp(`[${units.join('')}]`, 'g');
  }

  /**
   * The segments of `text`: the added tokens in it that `isWanted` accepts, and what is between. An unwanted token stays text
   * as a whole: there is no search for tokens inside it.
   */
  split(text: string, isWanted: (token: AddedToken) => boolean): Segment[] {
    const out: Segment[] = [];
    const { firstUnits } = this;
    let textStart = 0;
    /** Where the white space ends that was looked at last, so that none is looked at for each token in it. */
    let spaceEnd = 0;
    for (let at = 0; ; ) {
      firstUnits.lastIndex = at;
      if (!firstUnits.test(text)) break;
      const matchStart = firstUnits.lastIndex - 1;
      const found = this.longestAt(text, matchStart);
      if (found === undefined) {
        at = matchStart + 1;
        continue;
      }
      at = found.end;
      const { token } = found;
      if (!isWanted(token) || (token.singleWord && !isSingleWord(text, matchStart, found.end))) continue;
      let start = matchStart;
      let end = found.end;
      if (token.lstrip) while (start > textStart && isWhiteSpace(text, start - 1)) start--;
      if (token.rstrip) {
        end = Math.max(end, spaceEnd);
        while (isWhiteSpace(text, end)) end++;
        spaceEnd = end;
      }
      if (textStart < start) out.push(text.slice(textStart, start));
      out.push(token);
      textStart = end;
    }
    if (textStart < text.length) out.push(text.slice(textStart));
    return out;
  }

  private longestAt(text: string, start: number): { token: AddedToken; end: number } | undefined {
    let longest: { token: AddedToken; end: number } | undefined;
    let node: TrieNode | undefined = this.root;
    for (let i = start; i < text.length; i++) {
      node = node.children?.get(text.charCodeAt(i));
      if (node === undefined) break;
      if (node.token !== undefined) longest = { token: node.token, end: i + 1 };
    }
    return longest;
  }
}

/** At most one code point on either side matters, hence two UTF-16 units. */
const isSingleWord = (text: string, start: number, end: number): boolean =>
  !ENDS_WITH_WORD.test(text.slice(Math.max(start - 2, 0), start)) &&
  !STARTS_WITH_WORD.test(text.slice(end, end + 2));
