/** @file What all answers of a request cost together. */
import type { Timings, Usage } from '../runtime/types.ts';
import type { CompletionTimings, CompletionUsage } from './types.ts';

export interface Costs {
  /** `isNewPrompt` false: it answers the same prompt as the one before, and the prompt counts once. */
  add(result: { usage: Usage; timings: Timings }, isNewPrompt: boolean): void;
  total(): { usage: CompletionUsage; timings: CompletionTimings };
}

/** Of an answer for which nothing was generated. */
export const NO_COST: { usage: Usage; timings: Timings } = {
  usage: {
    promptTokens: 0,
    cachedTokens: 0,
    completionTokens: 0,
    reasoningTokens: 0,
    draftTokens: 0,
    acceptedTokens: 0,
  },
  timings: {
    timeToFirstToken: 0,
    prefillTokensPerSecond: 0,
    decodeTokensPerSecond: 0,
    tokensPerStep: 1,
  },
};

export function createCosts(): Costs {
  const sum = { prompt: 0, cached: 0, completion: 0, reasoning: 0, drafted: 0, accepted: 0 };
  const decoding = { tokens: 0, seconds: 0, steps: 0 };
  let first: Timings | undefined;
  return {
    add({ usage, timings }, isNewPrompt) {
      first ??= timings;
      if (isNewPrompt) {
        sum.prompt += usage.promptTokens;
        sum.cached += usage.cachedTokens;
      }
      sum.completion += usage.completionTokens;
      sum.reasoning += usage.reasoningTokens;
      sum.drafted += usage.draftTokens;
      sum.accepted += usage.acceptedTokens;
      const { decodeTokensPerSecond, tokensPerStep } = timings;
      if (decodeTokensPerSecond === 0) return;
      // The first token comes out of the prefill.
      const decoded = Math.max(0, usage.completionTokens - 1);
      decoding.tokens += decoded;
      decoding.seconds += decoded / decodeTokensPerSecond;
      decoding.steps += decoded / tokensPerStep;
    },
    total: () => ({
      usage: {
        prompt_tokens: sum.prompt,
        completion_tokens: sum.completion,
        total_tokens: sum.prompt + sum.completion,
        prompt_tokens_details: { cached_tokens: sum.cached },
        completion_tokens_details: {
          reasoning_tokens: sum.reasoning,
          accepted_prediction_tokens: sum.accepted,
          rejected_prediction_tokens: sum.drafted - sum.accepted,
        },
      },
      timings: {
        time_to_first_token: first?.timeToFirstToken ?? 0,
        prefill_tokens_per_second: first?.prefillTokensPerSecond ?? 0,
        decode_tokens_per_second: decoding.tokens > 0 ? decoding.tokens / decoding.seconds : 0,
        tokens_per_step: decoding.tokens > 0 ? decoding.tokens / decoding.steps : 1,
      },
    }),
  };
}
