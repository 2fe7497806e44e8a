/** @file What generation_config.json says of sampling and stopping. Values of the wrong type count as absent. */
import type { SamplingParams } from '../../kernels/sample/layout.ts';
import type { SamplingDefaults, SamplingOptions } from './types.ts';

type Json = Readonly<Record<string, unknown>>;

/** Defaults of an answer: the checkpoint's, then neutral values. `do_sample: false` means greedy. */
export function samplingDefaults(generationConfig: Json): SamplingDefaults {
  const number = (key: string, fallback: number): number => {
    const value = generationConfig[key];
    return typeof value === 'number' && Number.isFinite(value) ? value : fallback;
  };
  const maxTokens = generationConfig.max_new_tokens;
  return {
    temperature: generationConfig.do_sample === false ? 0 : number('temperature', 1),
    topK: number('top_k', 0),
    topP: number('top_p', 1),
    minP: number('min_p', 0),
    repetitionPenalty: number('repetition_penalty', 1),
    presencePenalty: number('presence_penalty', 0),
    frequencyPenalty: number('frequency_penalty', 0),
    maxTokens: typeof maxTokens === 'number' && maxTokens > 0 ? maxTokens : undefined,
  };
}

/** `eos_token_id` of both configs: a number or a list. */
export function stopTokensOf(...configs: Json[]): number[] {
  const ids = configs.flatMap((c) => c.eos_token_id).filter((id): id is number => Number.isSafeInteger(id));
  return [...new Set(ids)];
}

/** Options over the checkpoint's defaults. Values are checked where they are packed for the GPU. */
export function samplingParams(options: SamplingOptions, defaults: SamplingDefaults): SamplingParams {
  const { seed = Math.floor(Math.random() * 2 ** 32) } = options;
  return {
    temperature: options.temperature ?? defaults.temperature,
    topK: options.topK ?? defaults.topK,
    topP: options.topP ?? defaults.topP,
    minP: options.minP ?? defaults.minP,
    repetitionPenalty: options.repetitionPenalty ?? defaults.repetitionPenalty,
    presencePenalty: options.presencePenalty ?? defaults.presencePenalty,
    frequencyPenalty: options.frequencyPenalty ?? defaults.frequencyPenalty,
    seed,
  };
}
