/** @file Packs values as the weight formats of src/weights/formats.ts do, and tells what they become. */
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
function bf16Bits(value: number): number {
  float[0] = value;
  if (Number.isNaN(value)) return 0x7fc0;
  return (bits[0]! + 0x7fff + ((bits[0]! >>> 16) & 1)) >>> 16;
}

function bf16Value(half: number): number {
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

/** By format name: packs `values` [rows, cols]. */
export const packers: Readonly<
  Record<string, (values: Float32Array, rows: number, cols: number) => PackedWeight>
> = {
  bf16: plain(Uint16Array, 8, bf16Bits, bf16Value),
  f16: plain(Uint16Array, 8, f16Bits, f16Value),
  f32: plain(Float32Array, 4, same, same),
  fp8,
};
