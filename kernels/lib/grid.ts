/** @file Grids of kernels that count their workgroups in one dimension. */
import type { Grid } from '../../src/gpu/kernel.ts';

/**
 * `numGroups` workgroups as a grid of at most `width` columns. The kernel numbers them
 * `group.x + group.y * grid_width`, and ignores those after the last.
 */
export function foldGrid(numGroups: number, width: number): Grid {
  return numGroups <= width ? [numGroups, 1, 1] : [width, Math.ceil(numGroups / width), 1];
}
