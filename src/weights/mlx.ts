/**
 * @file Integer weights as MLX stores them (affine), rows of outputs: W[o, i] = q[o, i] * scale[o, i / group] + bias[o, i / group].
 * `X.weight` uint32 [out, in * bits / 32], a row's values one after another from the low bits on, also across words; `X.scales` and
 * `X.biases` [out, in / group]. What has fewer than 4 bits, or 5 or 6, gets the room of 4 or 8: the values stay the same.
 * It must not know models or the GPU. Source: mlx, mx.quantize.
 */
import { UnsupportedConfigError, WeightMismatchError } from '../errors.ts';
import { intFormat } from './int-format.ts';
import { packHalves, padRows } from './pack.ts';
import {
  fitting,
  type Module,
  needed,
  type RowsPiece,
  type StoredMatrix,
  type TensorEntry,
} from './stored-matrix.ts';

/** A matrix in U32 with scales, or undefined. @throws MissingWeightError | WeightMismatchError | UnsupportedConfigError naming the tensor */
export function storedMlx(module: Module): StoredMatrix | undefined {
  const { rows, cols, quantization } = module;
  const weight = module.tensor('weight');
  if (weight?.dtype !== 'U32') return undefined;
  if (quantization.method !== 'mlx') {
    throw new UnsupportedConfigError(
      `${weight.name} is stored as U32, as MLX packs weights, and config.json has no "quantization". Check that config.json belongs to these weights.`,
    );
  }
  const { bits, groupSize } = quantization.groupingOf(module.name);
  const kept = bits > 4 ? 8 : 4;
  if (groupSize === undefined || cols % groupSize !== 0) {
    throw new WeightMismatchError(
      `${weight.name} has ${cols} columns, which are no whole groups of ${groupSize}. Check that config.json belongs to these weights.`,
    );
  }
  fitting(weight, [rows, (cols * bits) / 32], ['U32']);
  const scales = needed(module, 'scales', [rows, cols / groupSize], ['BF16', 'F16']);
  const biases = needed(module, 'biases', [rows, cols / groupSize], [scales.dtype]);
  return {
    format: intFormat({ bits: kept, groupSize, words: scales.dtype === 'F16' ? 'f16-bias' : 'bf16-bias' }),
    pieces: [
      {
        lies: 'rows',
        tensor: weight,
        section: 'data',
        rowsPerStored: 1,
        pack: (bytes, numRows, rowBytes) =>
          padRows(bits === kept ? bytes : spread(bytes, bits, kept), numRows, rowBytes),
      },
      halves(scales, 0),
      halves(biases, 1),
    ],
  };
}

/** The low (0) or high (1) halves of the scale words. */
function halves(tensor: TensorEntry, half: 0 | 1): RowsPiece {
  return {
    lies: 'rows',
    tensor,
    section: 'scale',
    rowsPerStored: 1,
    isPartial: true,
    pack: (bytes, numRows, rowBytes) => packHalves(bytes, numRows, rowBytes, half),
  };
}

/** Values of `bits` bits as ones of `kept`; rows are whole bytes before and after. */
function spread(bytes: Uint8Array<ArrayBuffer>, bits: number, kept: 4 | 8): Uint8Array<ArrayBuffer> {
  const values = (bytes.length * 8) / bits;
  const wide = new Uint8Array((values * kept) / 8);
  let [at, held, numHeld] = [0, 0, 0];
  for (let i = 0; i < values; i++) {
    for (; numHeld < bits; numHeld += 8) held |= bytes[at++]! << numHeld;
    const value = held & (2 ** bits - 1);
    held >>>= bits;
    numHeld -= bits;
    if (kept === 8) wide[i] = value;
    else wide[i >> 1]! |= value << (4 * (i & 1));
  }
  return wide;
}
