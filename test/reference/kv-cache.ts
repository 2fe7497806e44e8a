/** @file How a cache stores values, in plain loops: int8 is a scale for each position and head, and parts of it in 1/127. */

/** A head's values as integers from -127 to 127, and the largest magnitude of them. */
export function quantizeHead(x: ArrayLike<number>): { scale: number; integers: number[] } {
  const values = Array.from(x);
  // Math.max gives NaN if any is.
  const scale = Math.max(...values.map(Math.abs));
  const isUsual = scale > 0 && Number.isFinite(scale);
  return { scale, integers: values.map((value) => (isUsual ? Math.round((127 * value) / scale) : 0)) };
}

/** An integer as it is read: 0 times a scale that is NaN or infinite shows. */
export const dequantize = (integer: number, scale: number): number =>
  Math.fround(scale * Math.fround(integer / 127));

/** Rows of heads of headDim values as an int8 cache gives them back. */
export function throughInt8(x: Float32Array, headDim: number): Float32Array {
  const out = new Float32Array(x.length);
  for (let begin = 0; begin < x.length; begin += headDim) {
    const { scale, integers } = quantizeHead(x.subarray(begin, begin + headDim));
    out.set(
      integers.map((q) => dequantize(q, scale)),
      begin,
    );
  }
  return out;
}
