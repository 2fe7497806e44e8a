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

/** By format name: packs `values` [rows, cols]. */
export const packers: Readonly<
  Record<string, (values: Float32Array, rows: number, cols: number) => PackedWeight>
> = {
  bf16: plain(Uint16Array, 8, bf16Bits, bf16Value),
  f16: plain(Uint16Array, 8, f16Bits, f16Value),
  f32: plain(Float32Array, 4, same, same),
};
