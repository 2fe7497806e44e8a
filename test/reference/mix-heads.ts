/** @file The plain definition of `mixHeads` in f64: a head times the orthonormal Walsh-Hadamard matrix of its size. */

const numOnes = (n: number): number => (n === 0 ? 0 : (n & 1) + numOnes(n >> 1));

/** x [..., headDim] -> the mixed x. */
export function mixHeads(x: ArrayLike<number>, headDim: number): number[] {
  const values = Array.from(x);
  return values.map((_, at) => {
    const i = at % headDim;
    let sum = 0;
    for (let j = 0; j < headDim; j++) sum += (-1) ** numOnes(i & j) * values[at - i + j]!;
    return sum / Math.sqrt(headDim);
  });
}
