/** @file Random integer matrices in the layouts that publishers use, written with plain loops, and the values they mean. */
import { f16Bits, f16Value } from '../kernels/harness.ts';
import type { TensorToWrite } from './safetensors-writer.ts';

/** A matrix [rows, cols] in the tensors that store it; values as the format's definition gives them, in float64. */
export interface StoredIntegers {
  tensors: TensorToWrite[];
  values: Float64Array;
}

export interface Shape {
  rows: number;
  cols: number;
  bits: number;
  groupSize: number;
  /** GPTQ: columns belong to groups in any order. */
  anyOrder?: boolean;
}

export type Write = (random: () => number, name: string, shape: Shape) => StoredIntegers;

const float = new Float32Array(1);
const bits32 = new Uint32Array(float.buffer);
const bf16Bits = (value: number): number => {
  float[0] = value;
  return bits32[0]! >>> 16;
};
const bf16Value = (half: number): number => {
  bits32[0] = half << 16;
  return float[0]!;
};

const table = (length: number, value: (i: number) => number): number[] =>
  Array.from({ length }, (_, i) => value(i));
const upTo = (random: () => number, n: number): number => Math.floor(random() * n);

/** words[r][w] holds the `perWord` values of row r from w * perWord on, value n at place n of the word. */
function packAlong(
  rows: number,
  cols: number,
  bits: number,
  at: (r: number, c: number) => number,
  placeOf: (n: number) => number = (n) => n,
): Uint32Array {
  const perWord = 32 / bits;
  const rowWords = Math.ceil(cols / perWord);
  const words = new Uint32Array(rows * rowWords);
  for (let r = 0; r < rows; r++)
    for (let c = 0; c < cols; c++) {
      const w = r * rowWords + Math.floor(c / perWord);
      words[w] = words[w]! | (at(r, c) << (bits * placeOf(c % perWord)));
    }
  return words;
}

/** Each row's values one after another in little-endian order, also across words. */
function packStream(rows: number, cols: number, bits: number, values: readonly number[]): Uint32Array {
  const rowWords = (cols * bits) / 32;
  const words = new Uint32Array(rows * rowWords);
  values.forEach((value, at) => {
    const [row, c] = [Math.floor(at / cols), at % cols];
    for (let bit = 0; bit < bits; bit++) {
      const place = c * bits + bit;
      words[row * rowWords + (place >> 5)]! |= ((value >> bit) & 1) << (place & 31);
    }
  });
  return words;
}

const gptqOf =
  (zeroOffset: 0 | 1): Write =>
  (random, name, { rows, cols, bits, groupSize, anyOrder }) => {
    const top = 2 ** bits;
    const numGroups = Math.ceil(cols / groupSize);
    const q = table(rows * cols, () => upTo(random, top));
    const order = table(cols, (c) => (anyOrder ? upTo(random, numGroups) : Math.floor(c / groupSize)));
    const zeros = table(numGroups * rows, () => upTo(random, top));
    const scales = Uint16Array.from({ length: numGroups * rows }, () => f16Bits(0.001 + 0.1 * random()));
    const values = new Float64Array(rows * cols);
    for (let o = 0; o < rows; o++)
      for (let i = 0; i < cols; i++) {
        const g = order[i]! * rows + o;
        values[o * cols + i] = f16Value(scales[g]!) * (q[o * cols + i]! - zeros[g]!);
      }
    // Packed along inputs: [out, in / n], turned over to [in / n, out].
    const rowWords = (cols * bits) / 32;
    const byRow = packAlong(rows, cols, bits, (o, i) => q[o * cols + i]!);
    const qweight = new Uint32Array(byRow.length);
    for (let o = 0; o < rows; o++)
      for (let w = 0; w < rowWords; w++) qweight[w * rows + o] = byRow[o * rowWords + w]!;
    const qzeros = packAlong(
      numGroups,
      rows,
      bits,
      (g, o) => (zeros[g * rows + o]! - zeroOffset) & (top - 1),
    );
    return {
      values,
      tensors: [
        { name: `${name}.qweight`, dtype: 'I32', shape: [rowWords, rows], data: qweight },
        { name: `${name}.qzeros`, dtype: 'I32', shape: [numGroups, (rows * bits) / 32], data: qzeros },
        { name: `${name}.scales`, dtype: 'F16', shape: [numGroups, rows], data: scales },
        { name: `${name}.g_idx`, dtype: 'I32', shape: [cols], data: Int32Array.from(order) },
      ],
    };
  };

export const gptq = gptqOf(1);
export const gptqV2 = gptqOf(0);

export const awq: Write = (random, name, { rows, cols, groupSize }) => {
  // Place n of a word holds output order[n] of its eight.
  const order = [0, 2, 4, 6, 1, 3, 5, 7];
  const placeOf = (output: number): number => order.indexOf(output);
  const numGroups = Math.ceil(cols / groupSize);
  const q = table(rows * cols, () => upTo(random, 16));
  const zeros = table(numGroups * rows, () => upTo(random, 16));
  const scales = Uint16Array.from({ length: numGroups * rows }, () => f16Bits(0.001 + 0.1 * random()));
  const values = new Float64Array(rows * cols);
  for (let o = 0; o < rows; o++)
    for (let i = 0; i < cols; i++) {
      const g = Math.floor(i / groupSize) * rows + o;
      values[o * cols + i] = f16Value(scales[g]!) * (q[o * cols + i]! - zeros[g]!);
    }
  return {
    values,
    tensors: [
      {
        name: `${name}.qweight`,
        dtype: 'I32',
        shape: [cols, rows / 8],
        data: packAlong(cols, rows, 4, (i, o) => q[o * cols + i]!, placeOf),
      },
      {
        name: `${name}.qzeros`,
        dtype: 'I32',
        shape: [numGroups, rows / 8],
        data: packAlong(numGroups, rows, 4, (g, o) => zeros[g * rows + o]!, placeOf),
      },
      { name: `${name}.scales`, dtype: 'F16', shape: [numGroups, rows], data: scales },
    ],
  };
};

export const mlx: Write = (random, name, { rows, cols, bits, groupSize }) => {
  const numGroups = cols / groupSize;
  const q = table(rows * cols, () => upTo(random, 2 ** bits));
  const scales = Uint16Array.from({ length: rows * numGroups }, () => bf16Bits(0.1 * (random() - 0.5)));
  const biases = Uint16Array.from({ length: rows * numGroups }, () => bf16Bits(random() - 0.5));
  const values = new Float64Array(rows * cols);
  for (let o = 0; o < rows; o++)
    for (let i = 0; i < cols; i++) {
      const g = o * numGroups + Math.floor(i / groupSize);
      values[o * cols + i] = q[o * cols + i]! * bf16Value(scales[g]!) + bf16Value(biases[g]!);
    }
  return {
    values,
    tensors: [
      {
        name: `${name}.weight`,
        dtype: 'U32',
        shape: [rows, (cols * bits) / 32],
        data: packStream(rows, cols, bits, q),
      },
      { name: `${name}.scales`, dtype: 'BF16', shape: [rows, numGroups], data: scales },
      { name: `${name}.biases`, dtype: 'BF16', shape: [rows, numGroups], data: biases },
    ],
  };
};

export const compressed: Write = (random, name, { rows, cols, bits, groupSize }) => {
  const numGroups = Math.ceil(cols / groupSize);
  const middle = 2 ** (bits - 1);
  const q = table(rows * cols, () => upTo(random, 2 * middle));
  const scales = Float32Array.from({ length: rows * numGroups }, () => 0.1 * random());
  const values = Float64Array.from(q, (v, at) => {
    const [o, i] = [Math.floor(at / cols), at % cols];
    return Math.fround((v - middle) * scales[o * numGroups + Math.floor(i / groupSize)]!);
  });
  return {
    values,
    tensors: [
      {
        name: `${name}.weight_packed`,
        dtype: 'I32',
        shape: [rows, Math.ceil((cols * bits) / 32)],
        data: packAlong(rows, cols, bits, (o, i) => q[o * cols + i]!),
      },
      {
        name: `${name}.weight_shape`,
        dtype: 'I64',
        shape: [2],
        data: BigInt64Array.of(BigInt(rows), BigInt(cols)),
      },
      { name: `${name}.weight_scale`, dtype: 'F32', shape: [rows, numGroups], data: scales },
    ],
  };
};

/** With zero points. */
export const asymmetric: Write = (random, name, shape) => {
  const { rows, cols, bits, groupSize } = shape;
  const numGroups = Math.ceil(cols / groupSize);
  const [packed, dims] = compressed(random, name, shape).tensors as [TensorToWrite, TensorToWrite];
  const words = packed.data as Uint32Array;
  const rowWords = words.length / rows;
  const zeros = table(rows * numGroups, () => upTo(random, 2 ** bits));
  const scales = Uint16Array.from({ length: rows * numGroups }, () => bf16Bits(0.1 * random()));
  const values = new Float64Array(rows * cols);
  for (let o = 0; o < rows; o++)
    for (let i = 0; i < cols; i++) {
      const g = o * numGroups + Math.floor(i / groupSize);
      const at = i * bits;
      const q = (words[o * rowWords + Math.floor(at / 32)]! >>> (at % 32)) & (2 ** bits - 1);
      values[o * cols + i] = (q - zeros[g]!) * bf16Value(scales[g]!);
    }
  // Packed along outputs: turned over, [groups, out / n], and back.
  const perWord = 32 / bits;
  const byGroup = packAlong(numGroups, rows, bits, (g, o) => zeros[o * numGroups + g]!);
  const zeroRows = Math.ceil(rows / perWord);
  const zeroWords = Uint32Array.from(
    byGroup,
    (_, at) => byGroup[(at % numGroups) * zeroRows + Math.floor(at / numGroups)]!,
  );
  return {
    values,
    tensors: [
      packed,
      dims,
      { name: `${name}.weight_scale`, dtype: 'BF16', shape: [rows, numGroups], data: scales },
      { name: `${name}.weight_zero_point`, dtype: 'I32', shape: [zeroRows, numGroups], data: zeroWords },
    ],
  };
};

/** Signed bytes with a scale for each row. */
export const signedBytes: Write = (random, name, { rows, cols }) => {
  const q = Int8Array.from({ length: rows * cols }, () => upTo(random, 256) - 128);
  const scales = Uint16Array.from({ length: rows }, () => bf16Bits(0.1 * random()));
  return {
    values: Float64Array.from(q, (v, at) => v * bf16Value(scales[Math.floor(at / cols)]!)),
    tensors: [
      { name: `${name}.weight`, dtype: 'I8', shape: [rows, cols], data: q },
      { name: `${name}.weight_scale`, dtype: 'BF16', shape: [rows, 1], data: scales },
    ],
  };
};
