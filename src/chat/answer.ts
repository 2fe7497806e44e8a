/**
 * @file The tokens of an answer and their text: asks the session, cuts what it gives into deltas, and ends the thinking where
 * its budget is spent. Knows no messages and no template.
 */
import type { Tokenizer } from '../../tokenizer/index.ts';
import type { Session, TokenOptions, TokenResult } from '../engine/session.ts';
import type { Chance } from '../engine/steps.ts';
import type { Timings, Usage } from '../engine/types.ts';
import type { AnswerConstraint } from './constrained.ts';
import { createLogprobs } from './logprobs.ts';
import type { MessageParser } from './message-parser.ts';
import type { ChatDelta } from './types.ts';

/** What ends thinking at its budget (Qwen3 technical report, 4.3, with the line breaks of Qwen's own code). */
const STOP_THINKING =
  '\n\nConsidering the limited time by the user, I have to give the solution based on the thinking directly now.\n</think>\n\n';
const EMPTY_THINKING = '\n\n</think>\n\n';

export interface AnswerOptions extends Omit<TokenOptions, 'accept' | 'mask' | 'numAnswered'> {
  stopTokens: ReadonlySet<number>;
  /** Tokens that fit the context. */
  contextLength: number;
  thinkingBudget?: number;
  constraint?: AnswerConstraint | undefined;
}

/** Tokens to text to deltas. */
export interface Answer {
  /** The tokens, those that end the thinking among them. Iterate once. */
  readonly tokens: AsyncGenerator<number, TokenResult>;
  /** With `logprobs`, of the last token if the model chose it. */
  readonly chance: Chance | undefined;
  /** Deltas since the last call. */
  take(): ChatDelta[];
  /** Releases what was held back. */
  end(): void;
  /** What the answer cost; `result` is what its tokens ended with. */
  figures(result: TokenResult): { usage: Usage; timings: Timings };
}

export function createAnswer(
  session: Pick<Session, 'generate'>,
  tokenizer: Tokenizer,
  parser: MessageParser,
  prompt: readonly number[],
  {
    stopTokens,
    contextLength,
    thinkingBudget = Number.POSITIVE_INFINITY,
    constraint,
    ...tokenOptions
  }: AnswerOptions,
): Answer {
  const options = { ...tokenOptions, mask: constraint?.mask };
  const decoder = tokenizer.createStream({ skipSpecial: true });
  const ids: number[] = [];
  let deltas: ChatDelta[] = [];
  let numReasoningTokens = 0;
  let chance: Chance | undefined;
  const logprobs = tokenOptions.logprobs === undefined ? undefined : createLogprobs(tokenizer);

  const isSpent = (): boolean => parser.isReasoning && numReasoningTokens >= thinkingBudget;

  /** Takes a token; false ends the answer. */
  function accept(id: number, itsChance?: Chance): boolean {
    ids.push(id);
    chance = itsChance;
    if (stopTokens.has(id)) return false;
    const wasReasoning = parser.isReasoning;
    const fresh = parser.push(decoder.push(id));
    const isReasoning = wasReasoning || parser.isReasoning;
    if (itsChance) logprobs?.add(id, itsChance, fresh, isReasoning);
    deltas.push(...fresh);
    if (isReasoning) numReasoningTokens++;
    constraint?.accept(id, parser.isReasoning);
    return !parser.isStopped && !constraint?.isDone;
  }

  async function* tokens(): AsyncGenerator<number, TokenResult> {
    let isCut = false;
    const thought = yield* session.generate(prompt, {
      ...options,
      accept(id, itsChance) {
        const goesOn = accept(id, itsChance);
        isCut = goesOn && isSpent();
        return goesOn && !isCut;
      },
    });
    if (!isCut || thought.finishReason !== 'stop') return thought;
    const forced = tokenizer.encode(thinkingBudget > 0 ? STOP_THINKING : EMPTY_THINKING, { addBos: false });
    const maxTokens = options.maxTokens - ids.length - forced.length;
    if (maxTokens < 1 || prompt.length + ids.length + forced.length > contextLength) {
      return { ...thought, finishReason: 'length' };
    }
    for (const id of forced) {
      accept(id);
      yield id;
    }
    // The session has the keys and values of all but what was forced.
    const said = yield* session.generate([...prompt, ...ids], {
      ...options,
      accept,
      maxTokens,
      numAnswered: ids.length,
    });
    return {
      finishReason: said.finishReason,
      cachedTokens: thought.cachedTokens,
      draftTokens: thought.draftTokens + said.draftTokens,
      acceptedTokens: thought.acceptedTokens + said.acceptedTokens,
      numSteps: thought.numSteps + said.numSteps,
      prefillTime: thought.prefillTime,
      decodeTime: thought.decodeTime + said.prefillTime + said.decodeTime,
    };
  }

  return {
    tokens: tokens(),
    get chance() {
      return chance;
    },
    take() {
      const taken = deltas;
      deltas = [];
      return taken;
    },
    end() {
      const fresh = [...parser.push(decoder.flush()), ...parser.end()];
      logprobs?.end(fresh);
      deltas.push(...fresh);
    },
    figures({ cachedTokens, draftTokens, acceptedTokens, numSteps, prefillTime, decodeTime }) {
      // The first token comes out of the prefill.
      const decoded = Math.max(0, ids.length - 1);
      const perSecond = (count: number, milliseconds: number): number =>
        milliseconds > 0 ? (count * 1000) / milliseconds : 0;
      return {
        usage: {
          promptTokens: prompt.length,
          cachedTokens,
          completionTokens: ids.length,
          reasoningTokens: numReasoningTokens,
          draftTokens,
          acceptedTokens,
        },
        timings: {
          timeToFirstToken: prefillTime,
          prefillTokensPerSecond: perSecond(prompt.length - cachedTokens, prefillTime),
          decodeTokensPerSecond: perSecond(decoded, decodeTime),
          tokensPerStep: numSteps > 0 ? decoded / numSteps : 1,
        },
      };
    },
  };
}
