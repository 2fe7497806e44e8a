/**
 * @file Where in an answer a format holds: not while the model thinks, and not in tool calls, but from the first token of what
 * it says to the last. Knows tokens and where thinking ends; it must not know formats.
 */
import type { Constraint } from '../constrain/index.ts';
import type { ReasoningStart } from './message-parser.ts';

export interface AnswerConstraint {
  /** Bits of the tokens that may come next; undefined: all. */
  mask(): Uint32Array | undefined;
  /** Takes a token; `isReasoning`: it did not end the thinking. */
  accept(id: number, isReasoning: boolean): void;
  /** The answer is complete. */
  readonly isDone: boolean;
}

export interface AnswerTokens {
  /** Opens a think block, where the model may begin with one. */
  think: number | undefined;
  /** Open a tool call. */
  calls: readonly number[];
  /** Line breaks between thinking and answer. */
  breaks: readonly number[];
}

export function constrainAnswer(
  constraint: Constraint,
  start: ReasoningStart,
  { think, calls, breaks }: AnswerTokens,
): AnswerConstraint {
  // `free`: in a tool call and behind it.
  let at: 'start' | 'thinking' | 'behind' | 'answer' | 'free' =
    start === 'open' ? 'thinking' : start === 'ask' ? 'start' : 'answer';
  let isBegun = false;

  /** What may come in place of the answer's first token. */
  function openers(): readonly number[] {
    if (at === 'start') return think === undefined ? calls : [think, ...calls];
    if (at === 'behind') return [...breaks, ...calls];
    return isBegun ? [] : calls;
  }

  return {
    mask() {
      if (at === 'thinking' || at === 'free') return undefined;
      const allowed = constraint.mask();
      const others = openers();
      if (others.length === 0) return allowed;
      const mask = allowed.slice();
      for (const id of others) mask[id >>> 5]! |= 1 << (id & 31);
      return mask;
    },
    accept(id, isReasoning) {
      if (at === 'thinking') {
        if (!isReasoning) at = 'behind';
      } else if (at === 'start' && id === think) {
        at = 'thinking';
      } else if (at === 'behind' && breaks.includes(id)) {
        at = 'answer';
      } else if (at !== 'free' && !isBegun && calls.includes(id)) {
        at = 'free';
      } else if (at !== 'free') {
        at = 'answer';
        isBegun = true;
        constraint.accept(id);
      }
    },
    get isDone() {
      return isBegun && constraint.isDone;
    },
  };
}
