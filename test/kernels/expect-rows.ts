/** @file Compares what a kernel wrote with what its reference twin says. */
import { type Outcome, POISON } from './harness.ts';

export interface Expected {
  /** Dense rows that must have been written; rows behind them must still be poison. NaN wants NaN. */
  values: Float64Array;
  /** The largest error that value i may have. */
  tolerance: (i: number) => number;
}

/** Throws with the label, the place and the seed of the first value that is wrong. */
export function expectRows(outcome: Outcome, role: string, expected: Expected, seed: number): void {
  const actual = outcome.outputs[role]!;
  const bits = new Uint32Array(actual.buffer, actual.byteOffset, actual.length);
  const fail = (i: number, wanted: string): never => {
    throw new Error(
      `${outcome.label}, seed ${seed}: ${role}[${i}] of ${actual.length} is ${actual[i]}, wanted ${wanted}`,
    );
  };
  for (let i = 0; i < actual.length; i++) {
    if (i >= expected.values.length) {
      if (bits[i] !== POISON) fail(i, 'a row that is left alone');
      continue;
    }
    const wanted = expected.values[i]!;
    if (
      Number.isNaN(wanted) ? Number.isNaN(actual[i]!) : Math.abs(actual[i]! - wanted) <= expected.tolerance(i)
    )
      continue;
    fail(i, `${wanted} +- ${expected.tolerance(i)}`);
  }
}
