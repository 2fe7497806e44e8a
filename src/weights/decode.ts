/**
 * @file The values of packed rows on the host, in plain loops that share nothing with the kernels: what a kernel's answers are
 * checked against. It knows every format of formats.ts and int-format.ts, and no GPU.
 */
import type { WeightFormat } from '../graph/weight.ts';

const FP8_COLUMNS = 128;
const INT_NAME = /^int([48])(-any-group)?-(\d+|row)-(f16-zero|bf16-zero|f16-bias|bf16-bias|f32)$/;

/** The first `cols` values of a row, from its bytes in every section. Undefined: a format that is not known here. */
export function decodeRow(
  format: WeightFormat,
  sections: Readonly<Record<string, DataView>>,
  cols: number,
): Float64Array | undefined {
  if (format.decodeRow) return format.decodeRow(sections, cols);
  const { name } = format;
  const { data, scale } = sections;
  const plain = PLAIN[name];
  if (plain && data) return Float64Array.from({ length: cols }, (_, i) => plain(data, i));
  if (name === 'fp8' && data && scale) {
    return Float64Array.from(
      { length: cols },
      (_, i) => e4m3Value(data.getUint8(i)) * scale.getFloat32(4 * Math.floor(i / FP8_COLUMNS), true),
    );
  }
  const layout = INT_NAME.exec(name);
  return layout && data && scale ? integers(layout, data, scale, cols) : undefined;
}

const PLAIN: Readonly<Record<string, (data: DataView, i: number) => number>> = {
  f32: (data, i) => data.getFloat32(4 * i, true),
  f16: (data, i) => f16Value(data.getUint16(2 * i, true)),
  bf16: (data, i) => bf16Value(data.getUint16(2 * i, true)),
};

function integers(layout: RegExpExecArray, data: DataView, scale: DataView, cols: number): Float64Array {
  const bits = Number(layout[1]);
  const [, , anyGroup, group, words] = layout as unknown as [string, string, string?, string?, string?];
  const blockBytes = 16 * Math.ceil((cols * bits) / 128);
  const half = words!.startsWith('f16') ? f16Value : bf16Value;
  return Float64Array.from({ length: cols }, (_, i) => {
    const q = (data.getUint8((i * bits) >> 3) >> ((i * bits) & 7)) & (2 ** bits - 1);
    const counted = group === 'row' ? 0 : Math.floor(i / Number(group));
    const at = 4 * (anyGroup ? data.getUint8(blockBytes + i) : counted);
    if (words === 'f32') return (q - 2 ** (bits - 1)) * scale.getFloat32(at, true);
    const [factor, other] = [half(scale.getUint16(at, true)), half(scale.getUint16(at + 2, true))];
    return words!.endsWith('bias') ? q * factor + other : (q - other) * factor;
  });
}

const scratch = new DataView(new ArrayBuffer(4));

function bf16Value(bits: number): number {
  scratch.setUint32(0, bits * 65536);
  return scratch.getFloat32(0);
}

/** float16 bits -> number. */
export function f16Value(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  if (exponent === 31) return fraction ? Number.NaN : sign * Number.POSITIVE_INFINITY;
  return exponent === 0 ? sign * fraction * 2 ** -24 : sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

/** Float8 e4m3fn: no infinities, NaN is all ones. */
function e4m3Value(byte: number): number {
  const sign = byte & 0x80 ? -1 : 1;
  const exponent = (byte >> 3) & 15;
  const fraction = byte & 7;
  if ((byte & 0x7f) === 0x7f) return Number.NaN;
  return exponent === 0 ? sign * fraction * 2 ** -9 : sign * (1 + fraction / 8) * 2 ** (exponent - 7);
}
