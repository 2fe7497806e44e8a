/** @file What the ops check of their tensors before they record: errors name the layer, what was found and what was wanted. */
import { ShapeError } from '../errors.ts';
import type { Graph } from './graph.ts';
import { rowSize, type Tensor } from './graph.ts';

/** Rows (tokens) of a tensor. */
export const rowsOf = (t: Tensor): number => t.shape[0]!;

/** @throws ShapeError */
export function fail(graph: Graph, what: string, found: string, wanted: string): never {
  throw new ShapeError(`${graph.scope || 'graph'}: ${what}: found ${found}, wanted ${wanted}`);
}

export function expectCols(x: Tensor, cols: number, what: string): void {
  if (rowSize(x) !== cols) fail(x.graph, what, `rows of ${rowSize(x)}`, `rows of ${cols}`);
}

export function expectSameShape(a: Tensor, b: Tensor, what: string): void {
  if (a.shape.join() !== b.shape.join()) fail(a.graph, what, `[${a.shape}] and [${b.shape}]`, 'equal shapes');
}

/** Heads are read as vec4. */
export function expectHeads(t: Tensor, what: string): [rows: number, heads: number, headDim: number] {
  const [rows, heads, headDim] = t.shape;
  if (t.shape.length !== 3 || headDim! % 4 !== 0) {
    fail(t.graph, what, `[${t.shape}]`, '[rows, heads, head_dim] with head_dim a multiple of 4');
  }
  return [rows!, heads!, headDim!];
}
