/**
 * @file Cuts a stream of text into reasoning and content at `<think>` tags, and ends it at stop texts. Incremental: the
 * result does not depend on how the stream was chunked. Knows text only, no tokens and no model.
 *
 * Rules (as vLLM's Qwen3 and DeepSeek-R1 parsers): a leading `<think>` is dropped; with thinking on, everything up to the
 * first `</think>` is reasoning, also when the tag never comes; with thinking off, text without a leading `<think>` is content.
 */
import type { ChatDelta } from './types.ts';

const OPEN = '<think>';
const CLOSE = '</think>';

export interface ReasoningParser {
  /** What the new text completes; text that may become a tag or a stop is held back. */
  push(text: string): ChatDelta[];
  /** What was held back, at the end of the stream. */
  end(): ChatDelta[];
  /** Whether a stop text was met; nothing after it is given out. */
  readonly isStopped: boolean;
  readonly isReasoning: boolean;
}

/**
 * `open`: the prompt ends inside a think block. `closed`: it ends behind one, or the model does not think.
 * `ask`: the model decides by writing `<think>` first.
 */
export type ReasoningStart = 'open' | 'closed' | 'ask';

export interface ReasoningOptions {
  start: ReasoningStart;
  /** Looked for in content only: a stop text inside reasoning does not end the answer. */
  stop?: readonly string[];
}

export function createReasoningParser({ start, stop = [] }: ReasoningOptions): ReasoningParser {
  let state: 'start' | 'reasoning' | 'afterThink' | 'content' | 'stopped' =
    start === 'open' ? 'reasoning' : start === 'ask' ? 'start' : 'content';
  let held = '';
  // Reasoning begins and ends without the line breaks around the tags, content without those behind the block.
  let trimsReasoning = true;
  let space = '';

  function reason(text: string, deltas: ChatDelta[]): void {
    let reasoning = text;
    if (trimsReasoning) reasoning = reasoning.replace(/^\n+/, '');
    if (reasoning === '') return;
    trimsReasoning = false;
    // Trailing line breaks wait: they are dropped if the block ends here.
    const end = reasoning.search(/\n*$/);
    const whole = end > 0 ? space + reasoning.slice(0, end) : '';
    space = end > 0 ? reasoning.slice(end) : space + reasoning;
    if (whole) deltas.push({ reasoning: whole });
  }

  function step(deltas: ChatDelta[], isEnd: boolean): boolean {
    switch (state) {
      case 'start': {
        const text = held.replace(/^\s+/, '');
        if (text.startsWith(OPEN)) {
          held = text.slice(OPEN.length);
          state = 'reasoning';
          return true;
        }
        if (OPEN.startsWith(text) && !isEnd) return false;
        state = 'content';
        return true;
      }
      case 'reasoning': {
        const at = held.indexOf(CLOSE);
        if (at >= 0) {
          reason(held.slice(0, at), deltas);
          held = held.slice(at + CLOSE.length);
          state = 'afterThink';
          return true;
        }
        const keep = isEnd ? 0 : partial(held, [CLOSE]);
        reason(held.slice(0, held.length - keep), deltas);
        held = held.slice(held.length - keep);
        return false;
      }
      case 'afterThink': {
        held = held.replace(/^\n+/, '');
        if (held === '') return false;
        state = 'content';
        return true;
      }
      case 'content': {
        // A longer stop text may still begin before the one that was found: then wait, or the chunking would show.
        const keep = isEnd ? 0 : partial(held, stop);
        const found = Math.min(...stop.map((s) => held.indexOf(s)).filter((at) => at >= 0));
        const isFound = found <= held.length - keep;
        const end = isFound ? found : held.length - keep;
        if (end > 0) deltas.push({ content: held.slice(0, end) });
        held = held.slice(end);
        if (isFound) state = 'stopped';
        return isFound;
      }
      case 'stopped':
        held = '';
        return false;
      default:
        return state satisfies never;
    }
  }

  function run(text: string, isEnd: boolean): ChatDelta[] {
    const deltas: ChatDelta[] = [];
    held += text;
    while (step(deltas, isEnd));
    return deltas;
  }

  return {
    push: (text) => run(text, false),
    end: () => run('', true),
    get isStopped() {
      return state === 'stopped';
    },
    get isReasoning() {
      return state === 'reasoning';
    },
  };
}

/** Length of the longest end of `text` that begins one of `words`. */
function partial(text: string, words: readonly string[]): number {
  let longest = 0;
  for (const word of words) {
    for (let n = Math.min(word.length - 1, text.length); n > longest; n--) {
      if (text.endsWith(word.slice(0, n))) {
        longest = n;
        break;
      }
    }
  }
  return longest;
}
