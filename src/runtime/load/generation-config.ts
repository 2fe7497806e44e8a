/** @file What generation_config.json says of sampling and stopping. Values of the wrong type count as absent. */
import type { SamplingParams } from '../../../kernels/sample/layout.ts';
import { InvalidInputError } from '../../errors.ts';
import type { SamplingDefaults, SamplingOptions } from '../types.ts';

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

type Range = readonly [min: number, max: number, isInteger: boolean];

const RANGES: Readonly<Record<keyof Omit<SamplingParams, 'seed'>, Range>> = {
  temperature: [0, 1000, false],
  topK: [0, 2 ** 31, true],
  topP: [0, 1, false],
  minP: [0, 1, false],
  repetitionPenalty: [1e-3, 1e3, false],
  presencePenalty: [-1e3, 1e3, false],
  frequencyPenalty: [-1e3, 1e3, false],
};

/** Options over the checkpoint's defaults, each checked. @throws InvalidInputError naming the option */
export function samplingParams(options: SamplingOptions, defaults: SamplingDefaults): SamplingParams {
  const checked = (name: keyof typeof RANGES): number => {
    const [min, max, isInteger] = RANGES[name];
    const value: unknown = options[name] ?? defaults[name];
    if (
      typeof value !== 'number' ||
      !(value >= min && value <= max) ||
      (isInteger && !Number.isInteger(value))
    ) {
      throw new InvalidInputError(
        `${name} is ${String(value)}, wanted ${isInteger ? 'an integer' : 'a number'} from ${min} to ${max}`,
      );
    }
    return value;
  };
  const { seed = Math.floor(Math.random() * 2 ** 32) } = options;
  if (!Number.isSafeInteger(seed)) throw new InvalidInputError(`seed is ${String(seed)}, wanted an integer`);
  return {
    temperature: checked('temperature'),
    topK: checked('topK'),
    topP: checked('topP'),
    minP: checked('minP'),
    repetitionPenalty: checked('repetitionPenalty'),
    presencePenalty: checked('presencePenalty'),
    frequencyPenalty: checked('frequencyPenalty'),
    seed,
  };
}
