/** @file A weight as a family would ask for it, from names and shapes. */
import type { WantedWeight, WeightRole } from '../../src/graph/weight.ts';

/** Shapes of one dim make a vector. Of experts each name is one. */
export function wantedWeight(
  names: readonly string[],
  shapes: readonly (readonly number[])[],
  role: WeightRole = 'projection',
): WantedWeight {
  const rowsOf = shapes.map((shape) => shape?.[0] ?? 1);
  const isVector = shapes.every((shape) => shape?.length === 1);
  return {
    key: names.join('+'),
    names,
    rowsOf,
    interleave: 1,
    unitRows: role === 'expert' ? rowsOf[0]! : 1,
    rows: rowsOf.reduce((a, b) => a + b, 0),
    cols: isVector ? rowsOf.reduce((a, b) => a + b, 0) : (shapes[0]?.[1] ?? 1),
    isVector,
    role: isVector ? undefined : role,
  };
}
