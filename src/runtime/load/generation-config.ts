/** @file What generation_config.json says of sampling and stopping. A value that no answer could be sampled with is found when a model is opened. */
import type { SamplingParams } from '../../../kernels/sample/layout.ts';
import { InvalidInputError, UnsupportedConfigError } from '../../errors.ts';
import type { SamplingDefaults, SamplingOptions } from '../types.ts';

type Json = Readonly<Record<string, unknown>>;

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

/** A value that an option may have. */
function isInRange(name: keyof typeof RANGES, value: unknown): value is number {
  const [min, max, isInteger] = RANGES[name];
  return typeof value === 'number' && value >= min && value <= max && (!isInteger || Number.isInteger(value));
}

const wantedOf = (name: keyof typeof RANGES): string => {
  const [min, max, isInteger] = RANGES[name];
  return `${isInteger ? 'an integer' : 'a number'} from ${min} to ${max}`;
};

/** Keys of generation_config.json, and what they mean when they are absent or null. */
const KEYS = {
  temperature: ['temperature', 1],
  topK: ['top_k', 0],
  topP: ['top_p', 1],
  minP: ['min_p', 0],
  repetitionPenalty: ['repetition_penalty', 1],
  presencePenalty: ['presence_penalty', 0],
  frequencyPenalty: ['frequency_penalty', 0],
} as const satisfies Record<keyof typeof RANGES, readonly [key: string, neutral: number]>;

/**
 * Defaults of an answer: the checkpoint's, then neutral values. `do_sample: false` means greedy; a `top_k` of -1 is off, as vLLM has it.
 * @throws UnsupportedConfigError naming the key
 */
export function samplingDefaults(generationConfig: Json): SamplingDefaults {
  const fail = (key: string, wanted: string): never => {
    throw new UnsupportedConfigError(
      `generation_config.json: ${key} is ${JSON.stringify(generationConfig[key])}, wanted ${wanted}`,
    );
  };
  const read = (name: keyof typeof KEYS): number => {
    const [key, neutral] = KEYS[name];
    const found = generationConfig[key] ?? neutral;
    const value = key === 'top_k' && found === -1 ? 0 : found;
    return isInRange(name, value) ? value : fail(key, wantedOf(name));
  };
  const { do_sample: samples = true, max_new_tokens: maxTokens = undefined } = generationConfig;
  if (samples !== null && typeof samples !== 'boolean') fail('do_sample', 'true or false');
  const isCount = typeof maxTokens === 'number' && Number.isSafeInteger(maxTokens) && maxTokens > 0;
  if (!isCount && maxTokens != null) fail('max_new_tokens', 'a positive integer');
  const temperature = read('temperature');
  return {
    temperature: samples === false ? 0 : temperature,
    topK: read('topK'),
    topP: read('topP'),
    minP: read('minP'),
    repetitionPenalty: read('repetitionPenalty'),
    presencePenalty: read('presencePenalty'),
    frequencyPenalty: read('frequencyPenalty'),
    maxTokens: isCount ? maxTokens : undefined,
  };
}

/** `eos_token_id` of both configs: a number or a list. @throws UnsupportedConfigError */
export function stopTokensOf(config: Json, generationConfig: Json): number[] {
  const read = (file: string, { eos_token_id: found }: Json): number[] => {
    const ids = Array.isArray(found) ? found : [found ?? []].flat();
    const isId = (id: unknown): id is number => Number.isSafeInteger(id) && (id as number) >= 0;
    if (ids.every(isId)) return ids;
    throw new UnsupportedConfigError(
      `${file}: eos_token_id is ${JSON.stringify(found)}, wanted the id of a token or a list of ids. Look the token up in tokenizer.json.`,
    );
  };
  return [...new Set([...read('config.json', config), ...read('generation_config.json', generationConfig)])];
}

/** Options over the checkpoint's defaults, each checked. @throws InvalidInputError naming the option */
export function samplingParams(options: SamplingOptions, defaults: SamplingDefaults): SamplingParams {
  const checked = (name: keyof typeof RANGES): number => {
    const value: unknown = options[name] ?? defaults[name];
    if (!isInRange(name, value)) {
      throw new InvalidInputError(`${name} is ${String(value)}, wanted ${wantedOf(name)}`);
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
