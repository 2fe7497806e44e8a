/** @file What matrices in a plain format can become while they load. Knows no GPU. */
import { formats } from './formats.ts';
import { intFormat } from './int-format.ts';

/** By the names that callers use. */
export const convertedFormats = {
  int4: intFormat({ bits: 4, groupSize: 32, words: 'bf16-bias' }),
  int8: intFormat({ bits: 8, groupSize: 64, words: 'bf16-bias' }),
  f16: formats.f16,
  bf16: formats.bf16,
} as const;
