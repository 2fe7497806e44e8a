/**
 * @file The published layouts of quantised matrices, in the order in which they are looked for. Loaded for checkpoints that have any, or
 * whose config.json tells of one. It must not know models or the GPU.
 */
import { storedCompressed } from './compressed.ts';
import { storedFp8 } from './fp8.ts';
import { storedGptq } from './gptq.ts';
import { storedMlx } from './mlx.ts';
import type { Module, StoredMatrix } from './stored-matrix.ts';

export { readQuantization } from './quantization.ts';

/** How a matrix is stored, if it is quantised. @throws MissingWeightError | WeightMismatchError | UnsupportedConfigError */
export const storedQuantised = (module: Module): StoredMatrix | undefined =>
  storedFp8(module) ?? storedCompressed(module) ?? storedMlx(module) ?? storedGptq(module);
