/** @file y[r, s] = W[experts[r, s]] x[r, s], each product as `linear` has it; or the sum of a row's slots by their scales. */
import type { Activation } from '../../src/graph/activation.ts';
import { linear } from './linear.ts';

export interface ExpertLinearProblem {
  rows: number;
  k: number;
  cols: number;
  /** Rows of one expert's matrix. */
  unitRows: number;
  /** [rows, cols], the same for all slots, or [rows, k, cols] */
  x: ArrayLike<number>;
  /** [numExperts, unitRows, cols] */
  weight: Float64Array;
  /** [rows, k] */
  experts: ArrayLike<number>;
  norm?: ArrayLike<number> | undefined;
  eps?: number;
  gate?: Activation | undefined;
  /** [rows, k]: then the slots of a row are added up. */
  scales?: ArrayLike<number> | undefined;
  /** [rows, outputs], with scales. */
  residual?: ArrayLike<number> | undefined;
}

/** [rows, k, outputs], or with scales [rows, outputs]; and for each the sum of the magnitudes that went into it. */
export function expertLinear(p: ExpertLinearProblem): { out: Float64Array; magnitude: Float64Array } {
  const { rows, k, cols, unitRows, scales, residual } = p;
  const outputs = p.gate ? unitRows / 2 : unitRows;
  const isShared = p.x.length === rows * cols;
  const x = Float64Array.from(p.x);
  const out = new Float64Array(rows * (scales ? 1 : k) * outputs);
  const magnitude = new Float64Array(out.length);
  for (let r = 0; r < rows; r++) {
    for (let s = 0; s < k; s++) {
      const entry = r * k + s;
      const begin = (isShared ? r : entry) * cols;
      const expert = p.experts[entry]!;
      const y = linear({
        rows: 1,
        cols,
        weightRows: unitRows,
        x: x.subarray(begin, begin + cols),
        weight: p.weight.subarray(expert * unitRows * cols, (expert + 1) * unitRows * cols),
        norm: p.norm,
        eps: p.eps,
        gate: p.gate,
      });
      for (let n = 0; n < outputs; n++) {
        const at = (scales ? r : entry) * outputs + n;
        const scale = scales?.[entry] ?? 1;
        out[at]! += scale * y.out[n]!;
        magnitude[at]! += Math.abs(scale) * y.magnitude[n]!;
      }
    }
  }
  for (let i = 0; residual && i < out.length; i++) {
    out[i]! += residual[i]!;
    magnitude[i]! += Math.abs(residual[i]!);
  }
  return { out, magnitude };
}

/** What `groupEntries` leaves: entries (row * k + slot) by expert, the tiles over them, the grid. */
export function groupEntries(
  experts: ArrayLike<number>,
  tileRows: number,
  columnTiles: number,
): { entries: Uint32Array; tiles: Uint32Array; dispatch: Uint32Array } {
  const byExpert = new Map<number, number[]>();
  for (let entry = 0; entry < experts.length; entry++) {
    const expert = experts[entry]!;
    byExpert.set(expert, [...(byExpert.get(expert) ?? []), entry]);
  }
  const entries: number[] = [];
  const tiles: number[] = [];
  for (const [expert, own] of [...byExpert].sort(([a], [b]) => a - b)) {
    for (let i = 0; i < own.length; i += tileRows) {
      const rows = own.slice(i, i + tileRows);
      tiles.push(expert, entries.length, rows.length, 0);
      entries.push(...rows);
    }
  }
  return {
    entries: Uint32Array.from(entries),
    tiles: Uint32Array.from(tiles),
    dispatch: Uint32Array.of(columnTiles, tiles.length / 4, 1, 0),
  };
}
