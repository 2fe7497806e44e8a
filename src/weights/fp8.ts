/**
 * @file Checkpoints in float8 e4m3, W = weight * scale: with a scale for each block of 128 x 128 weights as DeepSeek-V3 and
 * Qwen3-*-FP8 are published (`X.weight_scale_inv`, W[r, c] = weight[r, c] * scale[floor(r / 128), floor(c / 128)]), or with one for
 * each row or the whole matrix as compressed-tensors and AutoFP8 write (`X.weight_scale`).
 * Owns these names and shapes. It must not know models or the GPU.
 * Source: DeepSeek-V3, README_WEIGHTS.md; compressed-tensors, format float-quantized.
 */
import { MissingWeightError, WeightMismatchError } from '../errors.ts';
import { formats } from './formats.ts';
import { FP8_BLOCK } from './fp8-block.ts';
import { packRows, packScales } from './pack.ts';
import { fitting, type Module, SCALE_DTYPES, type StoredMatrix, type TensorEntry } from './stored-matrix.ts';

/** A matrix in F8_E4M3, or undefined. @throws MissingWeightError | WeightMismatchError naming the tensor */
export function storedFp8(module: Module): StoredMatrix | undefined {
  const weight = module.tensor('weight');
  if (weight?.dtype !== 'F8_E4M3') return undefined;
  fitting(weight, [module.rows, module.cols], ['F8_E4M3']);
  const { tensor, rowsPerStored } = scalesOf(module, weight);
  return {
    format: formats.fp8,
    pieces: [
      {
        lies: 'rows',
        tensor: weight,
        section: 'data',
        rowsPerStored: 1,
        pack: (bytes, numRows) => packRows(formats.fp8, false, weight.dtype, bytes, numRows),
      },
      {
        lies: 'rows',
        tensor,
        section: 'scale',
        rowsPerStored,
        pack: (bytes, numRows, rowBytes) => packScales(tensor.dtype, bytes, numRows, rowBytes, rowsPerStored),
      },
    ],
  };
}

/** The scales of a matrix, and the rows of it that one of theirs stands for. */
function scalesOf(
  module: Module,
  { name, dtype, shape }: TensorEntry,
): { tensor: TensorEntry; rowsPerStored: number } {
  const blocks = shape.map((n) => Math.ceil(n / FP8_BLOCK));
  const inverse = module.tensor('weight_scale_inv');
  if (inverse) return { tensor: fitting(inverse, blocks, SCALE_DTYPES), rowsPerStored: FP8_BLOCK };
  const scale = module.tensor('weight_scale');
  if (!scale) {
    throw new MissingWeightError(
      `${name} is stored as ${dtype} [${shape}], and the checkpoint has neither ${name}_scale_inv (wanted [${blocks}], a scale for each ` +
        `${FP8_BLOCK} x ${FP8_BLOCK} weights) nor ${name}_scale. Check that all its files are there.`,
    );
  }
  if (scale.shape.join() === blocks.join() && blocks[1]! > 1)
    return { tensor: fitting(scale, blocks, SCALE_DTYPES), rowsPerStored: FP8_BLOCK };
  return scalePerRow(module, scale);
}

/**
 * Scales [rows, 1], [rows], or one for the whole matrix, as [rows, 1] or [1, 1].
 * @throws WeightMismatchError naming the tensor
 */
export function scalePerRow(
  { rows }: Pick<Module, 'rows'>,
  tensor: TensorEntry,
): { tensor: TensorEntry; rowsPerStored: number } {
  const size = tensor.shape.reduce((a, b) => a * b, 1);
  const isColumn = tensor.shape.slice(1).every((n) => n === 1);
  if (!isColumn || (size !== rows && size !== 1)) {
    throw new WeightMismatchError(
      `${tensor.name} has shape [${tensor.shape}], wanted [${rows},1] (a scale for each row) or [1].`,
    );
  }
  fitting(tensor, tensor.shape, SCALE_DTYPES);
  return { tensor: { ...tensor, shape: [size, 1] }, rowsPerStored: rows / size };
}
