/**
 * @file Integer weights as compressed-tensors stores them, rows of outputs: W[o, i] = value[o, i] * scale[o, group of i].
 *   int-quantized: `X.weight` int8 [out, in], signed. pack-quantized: `X.weight_packed` int32 [out, ceil(in / 8 or 4)], the first
 *   value in the low bits, value = bits - 8 or 128; `X.weight_shape` int64 [2] = out, in.
 *   With `X.weight_zero_point` int32 [ceil(out / 8 or 4), groups], the first row's in the low bits, value = bits - zero point.
 * `X.weight_scale` is [out, groups]; one group: a scale for each row. Its float8 is read by fp8.ts. It must not know models or
 * the GPU. Source: compressed-tensors, compressors/quantized_compressors.
 */
import { UnsupportedConfigError, WeightMismatchError } from '../errors.ts';
import { scalePerRow } from './fp8.ts';
import { intFormat } from './int-format.ts';
import { packHalves, packScales, padRows, shortNumber } from './pack.ts';
import {
  type CheckedPiece,
  fitting,
  type Module,
  needed,
  type RowsPiece,
  SCALE_DTYPES,
  type StoredMatrix,
  type TensorEntry,
} from './stored-matrix.ts';

/** An integer matrix, or undefined. @throws MissingWeightError | WeightMismatchError | UnsupportedConfigError naming the tensor */
export function storedCompressed(module: Module): StoredMatrix | undefined {
  const packed = module.tensor('weight_packed');
  const weight = packed ?? module.tensor('weight');
  if (!packed && weight?.dtype !== 'I8') return undefined;
  const unread = module.tensor('weight_g_idx') ?? (packed ? undefined : module.tensor('weight_zero_point'));
  if (unread) {
    throw new UnsupportedConfigError(
      `${unread.name} belongs to a kind of compressed-tensors (${packed ? 'actorder' : 'asymmetric int-quantized'}) that is not ` +
        'supported. Choose a checkpoint without it, or one in the AWQ or GPTQ format.',
    );
  }
  return packed ? storedPacked(module, packed) : storedSigned(module, weight!);
}

function storedSigned(module: Module, weight: TensorEntry): StoredMatrix {
  fitting(weight, [module.rows, module.cols], ['I8']);
  const data: RowsPiece = {
    lies: 'rows',
    tensor: weight,
    section: 'data',
    rowsPerStored: 1,
    pack: (bytes, numRows, rowBytes) => padRows(withoutSign(bytes), numRows, rowBytes, 0x80),
  };
  return withScales(module, 8, [data]);
}

/** Two's complement to what is 128 more, without sign. */
function withoutSign(bytes: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  return bytes.map((byte) => byte ^ 0x80);
}

function storedPacked(module: Module, packed: TensorEntry): StoredMatrix {
  const { rows, cols } = module;
  const bits = packed.shape[1] === Math.ceil(cols / 4) && packed.shape[1] !== Math.ceil(cols / 8) ? 8 : 4;
  fitting(packed, [rows, Math.ceil((cols * bits) / 32)], ['I32']);
  const shape = needed(module, 'weight_shape', [2], ['I64', 'I32']);
  const zero = bits === 8 ? 0x80 : 0x88;
  return withScales(module, bits, [
    {
      lies: 'rows',
      tensor: packed,
      section: 'data',
      rowsPerStored: 1,
      pack: (bytes, numRows, rowBytes) => padRows(bytes, numRows, rowBytes, zero),
    },
    { lies: 'nowhere', tensor: shape, check: (bytes) => checkShape(module, shape, bytes) },
  ]);
}

function checkShape(
  { rowsStored: rows, cols }: Module,
  { name, dtype }: TensorEntry,
  bytes: Uint8Array,
): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const found = [0, 1].map((i) =>
    dtype === 'I64' ? view.getBigInt64(8 * i, true) : BigInt(view.getInt32(4 * i, true)),
  );
  if (found[0] === BigInt(rows) && found[1] === BigInt(cols)) return;
  throw new WeightMismatchError(
    `${name} says [${found}], config.json wants [${rows},${cols}]. Check that config.json belongs to these weights.`,
  );
}

function withScales(
  module: Module,
  bits: 4 | 8,
  pieces: readonly (RowsPiece | CheckedPiece)[],
): StoredMatrix {
  const found = needed(module, 'weight_scale', module.tensor('weight_scale')?.shape ?? [], SCALE_DTYPES);
  const groupSize = groupSizeOf(module, bits, found);
  const zeros = module.tensor('weight_zero_point');
  if (zeros) return withZeros(module, { bits, groupSize, scale: found, zeros }, pieces);
  const { tensor, rowsPerStored } =
    groupSize === undefined ? scalePerRow(module, found) : { tensor: found, rowsPerStored: 1 };
  return {
    format: intFormat({ bits, groupSize, words: 'f32' }),
    pieces: [
      ...pieces,
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

interface WithZeros {
  bits: 4 | 8;
  groupSize: number | undefined;
  scale: TensorEntry;
  zeros: TensorEntry;
}

/** Scales in the low halves of the scale words, zero points as numbers of the same type in the high halves. */
function withZeros(
  { rows, cols }: Module,
  { bits, groupSize, scale, zeros }: WithZeros,
  pieces: readonly (RowsPiece | CheckedPiece)[],
): StoredMatrix {
  const numGroups = groupSize === undefined ? 1 : Math.ceil(cols / groupSize);
  fitting(scale, [rows, numGroups], ['BF16', 'F16']);
  fitting(zeros, [Math.ceil((rows * bits) / 32), numGroups], ['I32']);
  return {
    format: intFormat({ bits, groupSize, words: scale.dtype === 'F16' ? 'f16-zero' : 'bf16-zero' }),
    pieces: [
      ...pieces,
      {
        lies: 'rows',
        tensor: scale,
        section: 'scale',
        rowsPerStored: 1,
        isPartial: true,
        pack: (bytes, numRows, rowBytes) => packHalves(bytes, numRows, rowBytes, 0),
      },
      {
        lies: 'rows',
        tensor: zeros,
        section: 'scale',
        rowsPerStored: 32 / bits,
        isPartial: true,
        pack: (bytes, numRows, rowBytes) => {
          const stored = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
          const words = new Uint32Array((numRows * rowBytes) / 4);
          for (let r = 0; r < numRows; r++) {
            const shift = (r * bits) % 32;
            const first = Math.floor((r * bits) / 32) * numGroups;
            for (let g = 0; g < numGroups; g++) {
              const zero = (stored.getUint32(4 * (first + g), true) >>> shift) & (2 ** bits - 1);
              words[(r * rowBytes) / 4 + g] = shortNumber(zero, scale.dtype) << 16;
            }
          }
          return new Uint8Array(words.buffer);
        },
      },
    ],
  };
}

/** Columns that share a scale; undefined: all. The config has to name the size that the number of scales tells of. */
function groupSizeOf(
  { rows, cols, quantization }: Module,
  bits: number,
  scale: TensorEntry,
): number | undefined {
  const groupings = quantization.method === 'compressed-tensors' ? quantization.groupings : [];
  const sizes = groupings.filter((g) => g.bits === bits && !g.isFloat).map((g) => g.groupSize);
  const [scaleRows, numGroups] = scale.shape;
  const isGrouped = scaleRows === rows && numGroups !== undefined;
  if (!isGrouped || (numGroups === 1 && sizes.some((size) => size === undefined || size >= cols)))
    return undefined;
  const size = sizes.find((size) => size !== undefined && Math.ceil(cols / size) === numGroups);
  if (size !== undefined) return size;
  throw new WeightMismatchError(
    `${scale.name} has shape [${scale.shape}], which for ${cols} columns of ${bits} bits no group size of config.json gives ` +
      `(it names ${sizes.map((size) => size ?? 'whole rows').join(', ') || 'none'}). Check that config.json belongs to these weights.`,
  );
}
