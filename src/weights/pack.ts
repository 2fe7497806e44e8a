/**
 * @file Bytes of a checkpoint -> packed rows of a weight format, on the CPU. The common case (same dtype, whole blocks)
 * passes the bytes through untouched. It must not know the GPU.
 */
import { UnsupportedConfigError } from '../errors.ts';
import type { WeightFormat } from '../graph/weight.ts';
import { FP8_BLOCK } from './fp8-block.ts';
import { DTYPE_BYTES, type SafetensorsDtype } from './safetensors.ts';
import type { StoredDtype } from './stored-matrix.ts';

/** The stored dtype whose bytes are a format's own `data` section. */
const nativeDtype: Readonly<Record<string, SafetensorsDtype>> = {
  bf16: 'BF16',
  f16: 'F16',
  f32: 'F32',
  fp8: 'F8_E4M3',
};

/**
 * The `data` section of `numRows` rows of a tensor (a vector is one row). Rows of a matrix are padded with zeros to what the
 * format's rows need; vectors are f32 without padding.
 */
export function packRows(
  format: WeightFormat,
  isVector: boolean,
  dtype: StoredDtype,
  bytes: Uint8Array<ArrayBuffer>,
  numRows: number,
): Uint8Array<ArrayBuffer> {
  const native = nativeDtype[format.name]!;
  const isNative = native === dtype;
  if (!isNative && format.name !== 'f32')
    throw new UnsupportedConfigError(`${dtype} cannot be packed as ${format.name}`);
  const data = isNative ? bytes : new Uint8Array(widen(dtype, bytes).buffer);
  if (isVector) return data;
  const rowBytes = data.length / numRows;
  return padRows(data, numRows, format.sections[0]!.rowBytes(rowBytes / DTYPE_BYTES[native]));
}

/** Rows made `paddedBytes` long, with `fill` behind what they hold. */
export function padRows(
  bytes: Uint8Array<ArrayBuffer>,
  numRows: number,
  paddedBytes: number,
  fill = 0,
): Uint8Array<ArrayBuffer> {
  const rowBytes = bytes.length / numRows;
  if (paddedBytes === rowBytes) return bytes;
  const padded = new Uint8Array(paddedBytes * numRows).fill(fill);
  for (let r = 0; r < numRows; r++)
    padded.set(bytes.subarray(r * rowBytes, (r + 1) * rowBytes), r * paddedBytes);
  return padded;
}

/**
 * The `scale` section of `numRows` weight rows, each `rowBytes` long: `bytes` holds the scales of all blocks of `rowsPerScale` of
 * these rows, and every row gets those of its block, as f32. Rows with a single scale get it everywhere.
 */
export function packScales(
  dtype: StoredDtype,
  bytes: Uint8Array,
  numRows: number,
  rowBytes: number,
  rowsPerScale: number = FP8_BLOCK,
): Uint8Array<ArrayBuffer> {
  const scales = widen(dtype, bytes);
  const cols = scales.length / Math.ceil(numRows / rowsPerScale);
  const rowFloats = rowBytes / 4;
  const repeated = new Float32Array(numRows * rowFloats);
  for (let r = 0; r < numRows; r++) {
    const block = Math.floor(r / rowsPerScale);
    if (cols === 1) repeated.fill(scales[block]!, r * rowFloats, (r + 1) * rowFloats);
    else repeated.set(scales.subarray(block * cols, (block + 1) * cols), r * rowFloats);
  }
  return new Uint8Array(repeated.buffer);
}

const halfTable = new Float32Array(65536);
const halves = { isFilled: false };

/** float16 bits -> value, by table: exact for every pattern. */
function f16Value(bits: number): number {
  if (!halves.isFilled) {
    for (let i = 0; i < 65536; i++) {
      const sign = i & 0x8000 ? -1 : 1;
      const exponent = (i >>> 10) & 31;
      const mantissa = i & 1023;
      if (exponent === 31) halfTable[i] = mantissa ? Number.NaN : sign * Number.POSITIVE_INFINITY;
      else
        halfTable[i] =
          exponent === 0 ? sign * mantissa * 2 ** -24 : sign * (1 + mantissa / 1024) * 2 ** (exponent - 15);
    }
    halves.isFilled = true;
  }
  return halfTable[bits]!;
}

/** 16-bit values of rows as the low (0) or high (1) halves of words; the other halves, and words behind a row's values, are zeros. */
export function packHalves(
  bytes: Uint8Array<ArrayBuffer>,
  numRows: number,
  rowBytes: number,
  half: 0 | 1,
): Uint8Array<ArrayBuffer> {
  const words = new Uint8Array(numRows * rowBytes);
  const rowValues = bytes.length / 2 / numRows;
  for (let r = 0; r < numRows; r++) {
    for (let i = 0; i < rowValues; i++) {
      const from = 2 * (r * rowValues + i);
      const to = r * rowBytes + 4 * i + 2 * half;
      words[to] = bytes[from]!;
      words[to + 1] = bytes[from + 1]!;
    }
  }
  return words;
}

/** The bits of a natural number up to 256, which both are exact for, as BF16 or F16. */
export function shortNumber(value: number, dtype: StoredDtype): number {
  if (value === 0) return 0;
  const exponent = 31 - Math.clz32(value);
  const [fractionBits, bias] = dtype === 'F16' ? [10, 15] : [7, 127];
  return ((exponent + bias) << fractionBits) | Math.floor((value / 2 ** exponent - 1) * 2 ** fractionBits);
}

/** Values of any float dtype as f32; exact but for F64. */
export function widen(dtype: StoredDtype, bytes: Uint8Array): Float32Array<ArrayBuffer> {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  switch (dtype) {
    case 'F32':
      return Float32Array.from({ length: bytes.length / 4 }, (_, i) => view.getFloat32(i * 4, true));
    case 'F64':
      return Float32Array.from({ length: bytes.length / 8 }, (_, i) => view.getFloat64(i * 8, true));
    case 'F16':
      return Float32Array.from({ length: bytes.length / 2 }, (_, i) => f16Value(view.getUint16(i * 2, true)));
    case 'BF16': {
      const words = new Uint32Array(bytes.length / 2);
      for (let i = 0; i < words.length; i++) words[i] = view.getUint16(i * 2, true) << 16;
      return new Float32Array(words.buffer);
    }
    default:
      throw new UnsupportedConfigError(`${dtype} is not a float dtype that can be widened`);
  }
}
