/** @file Architecture string of config.json -> family. A new family is one line here. */
import { UnknownArchitectureError } from '../errors.ts';
import { deepseekV2 } from './deepseek-v2.ts';
import { deepseekV3 } from './deepseek-v3.ts';
import { granite } from './granite.ts';
import { llama } from './llama.ts';
import { mistral } from './mistral.ts';
import type { ModelFamily } from './model.ts';
import { phi3 } from './phi3.ts';
import { qwen2 } from './qwen2.ts';
import { qwen2Moe } from './qwen2-moe.ts';
import { qwen3 } from './qwen3.ts';
import { qwen3Moe } from './qwen3-moe.ts';
import { smollm3 } from './smollm3.ts';

export const families: readonly ModelFamily[] = [
  qwen2,
  qwen2Moe,
  qwen3,
  qwen3Moe,
  deepseekV2,
  deepseekV3,
  llama,
  mistral,
  smollm3,
  granite,
  phi3,
];

/** The family of a checkpoint: that of its architecture, or of its model_type where it names none. @throws UnknownArchitectureError */
export function familyOf(config: Readonly<Record<string, unknown>>): ModelFamily {
  const { architectures, model_type: modelType } = config;
  const names = Array.isArray(architectures) ? architectures.filter((a) => typeof a === 'string') : [];
  const family = families.find((f) =>
    names.length > 0 ? f.architectures.some((a) => names.includes(a)) : f.modelType === modelType,
  );
  if (!family) {
    const known = families.flatMap((f) => f.architectures).join(', ');
    const found =
      names.length > 0 || modelType === undefined
        ? `the architecture ${JSON.stringify(architectures) ?? 'nothing'}`
        : `no architecture, and the model_type ${JSON.stringify(modelType)}`;
    throw new UnknownArchitectureError(
      `config.json names ${found}; known are ${known}. Choose a checkpoint of one of these families.`,
    );
  }
  return family;
}
