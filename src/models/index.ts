/** @file Architecture string of config.json -> family. A new family is one line here. */
import { UnknownArchitectureError } from '../errors.ts';
import { deepseekV3 } from './deepseek-v3.ts';
import type { ModelFamily } from './model.ts';
import { qwen2 } from './qwen2.ts';
import { qwen2Moe } from './qwen2-moe.ts';
import { qwen3 } from './qwen3.ts';
import { qwen3Moe } from './qwen3-moe.ts';

export const families: readonly ModelFamily[] = [qwen2, qwen2Moe, qwen3, qwen3Moe, deepseekV3];

/** The family of a checkpoint. @throws UnknownArchitectureError */
export function familyOf(config: Readonly<Record<string, unknown>>): ModelFamily {
  const names = Array.isArray(config.architectures)
    ? config.architectures.filter((a): a is string => typeof a === 'string')
    : [];
  const family = families.find((f) => f.architectures.some((a) => names.includes(a)));
  if (!family) {
    throw new UnknownArchitectureError(
      `config.json names the architecture ${JSON.stringify(config.architectures) ?? 'nothing'}; ` +
        `known are ${families.flatMap((f) => f.architectures).join(', ')}. Choose a checkpoint of one of these families.`,
    );
  }
  return family;
}
