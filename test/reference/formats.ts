/** @file Packs values as the weight formats of src/weights/formats.ts do, and tells what they become. */
import type { IntLayout } from '../../src/weights/int-format.ts';
import { f16Bits, f16Value } from '../kernels/harness.ts';

export interface PackedWeight {
  /** Bytes by section name, rows one after another, each padded with zeros to whole blocks. */
  readonly sections: Readonly<Record<string, Uint8Array>>;
  /** The values [rows, cols] that a kernel reads back from the sections. */
  readonly values: Float64Array;
}

const bits = new Uint32Array(1);
const float = new Float32Array(bits.buffer);

/** float32 -> bfloat16 bits, round to nearest even. */
export function bf16Bits(value: number): number {
  float[0] = value;
  if (Number.isNaN(value)) return 0x7fc0;
  return (bits[0]! + 0x7fff + ((bits[0]! >>> 16) & 1)) >>> 16;
}

export function bf16Value(half: number): number {
  bits[0] = half << 16;
  return float[0]!;
}

/** One section, each value by itself. */
function plain<T extends Uint16Array | Float32Array>(
  Elements: new (length: number) => T,
  blockSize: number,
  encode: (value: number) => number,
  decode: (element: number) => number,
): (values: Float32Array, rows: number, cols: number) => PackedWeight {
  return (values, rows, cols) => {
    const padded = Math.ceil(cols / blockSize) * blockSize;
    const elements = new Elements(rows * padded);
    for (let r = 0; r < rows; r++) {
      for (let c = 0; c < cols; c++) elements[r * padded + c] = encode(values[r * cols + c]!);
    }
    return {
      sections: { data: new Uint8Array(elements.buffer as ArrayBuffer) },
      values: Float64Array.from(values, (v) => decode(encode(v))),
    };
  };
}

const same = (value: number): number => value;

/** Float8 e4m3fn bits -> value, by its definition: 1 sign, 4 exponent bits with bias 7, 3 of the fraction; no infinities. */
export function e4m3Value(code: number): number {
  const sign = code & 0x80 ? -1 : 1;
  const exponent = (code >>> 3) & 15;
  const fraction = code & 7;
  if (exponent === 15 && fraction === 7) return Number.NaN;
  return exponent === 0 ? sign * fraction * 2 ** -9 : sign * (1 + fraction / 8) * 2 ** (exponent - 7);
}

/** The e4m3fn bits nearest to a value, 448 at most. */
function e4m3Bits(value: number): number {
  const sign = value < 0 || Object.is(value, -0) ? 0x80 : 0;
  const magnitude = Math.min(448, Math.abs(value));
  // Steps between neighbours are 2^(exponent - 3); so counted, the bits of all values are consecutive.
  const exponent = magnitude < 2 ** -6 ? -6 : Math.floor(Math.log2(magnitude));
  return sign | Math.min(0x7e, Math.round(magnitude * 2 ** (3 - exponent)) + (exponent + 6) * 8);
}

/** Columns that share a scale. */
const FP8_COLS = 128;

/** Float8 with scales [rows, ceil(cols / 128)], each chosen so that the largest value it scales becomes 448. */
function fp8(values: Float32Array, rows: number, cols: number): PackedWeight {
  const rowScales = Math.ceil(Math.ceil(cols / FP8_COLS) / 4) * 4;
  const scales = new Float32Array(rows * rowScales);
  const codes = new Uint8Array(rows * Math.ceil(cols / 16) * 16);
  const decoded = new Float64Array(rows * cols);
  for (let r = 0; r < rows; r++) {
    for (let c = 0; c < cols; c++) {
      const at = r * rowScales + Math.floor(c / FP8_COLS);
      if (c % FP8_COLS === 0) {
        const shared = values.subarray(r * cols + c, r * cols + Math.min(c + FP8_COLS, cols));
        scales[at] = shared.reduce((max, v) => Math.max(max, Math.abs(v)), 0) / 448 || 1;
      }
      const code = e4m3Bits(values[r * cols + c]! / scales[at]!);
      codes[r * Math.ceil(cols / 16) * 16 + c] = code;
      // What a kernel multiplies with is the product rounded to float32.
      decoded[r * cols + c] = Math.fround(e4m3Value(code) * scales[at]!);
    }
  }
  return { sections: { data: codes, scale: new Uint8Array(scales.buffer) }, values: decoded };
}

/** Integers whose range just holds the values of a group, or is centred on zero for scale words without an offset. */
export function ints({
  bits: numBits,
  groupSize = Number.POSITIVE_INFINITY,
  words,
  anyGroup = false,
}: IntLayout) {
  const top = 2 ** numBits - 1;
  const perBlock = 128 / numBits;
  const [encode, decode] = words.startsWith('f16') ? [f16Bits, f16Value] : [bf16Bits, bf16Value];
  return (values: Float32Array, rows: number, cols: number): PackedWeight => {
    const numGroups = Math.ceil(cols / groupSize);
    // Without an order of their own columns count off into groups; with one, here, they take turns.
    const groupOf = (c: number): number => (anyGroup ? c % numGroups : Math.floor(c / groupSize));
    const blocks = Math.ceil(cols / perBlock);
    const rowBytes = blocks * (anyGroup ? 16 + perBlock : 16);
    const data = new Uint8Array(rows * rowBytes);
    const rowWords =
      Math.ceil(
        (groupSize === Number.POSITIVE_INFINITY ? 1 : Math.ceil((blocks * perBlock) / groupSize)) / 4,
      ) * 4;
    const scaleWords = new Uint32Array(rows * rowWords);
    const decoded = new Float64Array(rows * cols);
    for (let r = 0; r < rows; r++) {
      for (let g = 0; g < numGroups; g++) {
        const columns = Array.from({ length: cols }, (_, c) => c).filter((c) => groupOf(c) === g);
        const shared = columns.map((c) => values[r * cols + c]!);
        const [least, most] = [Math.min(0, ...shared), Math.max(0, ...shared)];
        const reach = Math.max(-least, most) * 2;
        let scale = (words === 'f32' ? reach : most - least) / top || 1;
        if (words !== 'f32') scale = decode(encode(scale));
        else scale = Math.fround(scale);
        // weight = (q - zero) * scale + bias.
        let [zero, bias] = [2 ** (numBits - 1), 0];
        if (words === 'f32') {
          float[0] = scale;
          scaleWords[r * rowWords + g] = bits[0]!;
        } else {
          const hasZero = words.endsWith('zero');
          zero = hasZero ? Math.round(-least / scale) : 0;
          bias = hasZero ? 0 : decode(encode(least));
          scaleWords[r * rowWords + g] = (encode(scale) | (encode(hasZero ? zero : bias) << 16)) >>> 0;
        }
        for (const c of columns) {
          const q = Math.max(0, Math.min(top, Math.round((values[r * cols + c]! - bias) / scale) + zero));
          const at = r * rowBytes + Math.floor((c * numBits) / 8);
          data[at] = data[at]! | (q << ((c * numBits) % 8));
          if (anyGroup) data[r * rowBytes + blocks * 16 + c] = g;
          // A product of short numbers is exact in float32; only the sum with a bias rounds.
          decoded[r * cols + c] = Math.fround(Math.fround((q - zero) * scale) + bias);
        }
      }
    }
    return {
      sections: { data, scale: new Uint8Array(scaleWords.buffer) },
      values: decoded,
    };
  };
}

/** The values of integer rows, from the bytes of their sections. */
export function intValues(
  { bits: numBits, groupSize = Number.POSITIVE_INFINITY, words, anyGroup = false }: IntLayout,
  data: Uint8Array,
  scale: Uint8Array,
  rows: number,
  cols: number,
): Float64Array {
  const rowBytes = data.length / rows;
  const scaleBytes = scale.length / rows;
  const values = new Float64Array(rows * cols);
  const view = new DataView(scale.buffer, scale.byteOffset, scale.byteLength);
  const half = words.startsWith('f16') ? f16Value : bf16Value;
  for (let r = 0; r < rows; r++) {
    for (let c = 0; c < cols; c++) {
      const q =
        (data[r * rowBytes + Math.floor((c * numBits) / 8)]! >> ((c * numBits) % 8)) & (2 ** numBits - 1);
      const valueBytes = Math.ceil((cols * numBits) / 128) * 16;
      const group = anyGroup ? data[r * rowBytes + valueBytes + c]! : Math.floor(c / groupSize);
      const at = r * scaleBytes + 4 * group;
      const factor = words === 'f32' ? view.getFloat32(at, true) : half(view.getUint16(at, true));
      const other = words === 'f32' ? 2 ** (numBits - 1) : half(view.getUint16(at + 2, true));
      const hasBias = words.endsWith('bias');
      const product = (hasBias ? q : q - other) * factor;
      values[r * cols + c] = hasBias ? product + other : words === 'f32' ? Math.fround(product) : product;
    }
  }
  return values;
}

/** By format name: packs `values` [rows, cols]. */
export const packers: Readonly<
  Record<string, (values: Float32Array, rows: number, cols: number) => PackedWeight>
> = {
  bf16: plain(Uint16Array, 8, bf16Bits, bf16Value),
  f16: plain(Uint16Array, 8, f16Bits, f16Value),
  f32: plain(Float32Array, 4, same, same),
  fp8,
  int4: ints({ bits: 4, groupSize: 128, words: 'f16-zero' }),
  int8: ints({ bits: 8, groupSize: 64, words: 'bf16-bias' }),
};
