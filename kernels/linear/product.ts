/** @file What the kernels of `linear` multiply. Ops that choose among many matrices describe themselves in the same terms. */
import {
  type BatchCounts,
  type Binding,
  type Const,
  type WeightPart,
  type WgslFile,
  wgslFile,
} from '../../src/gpu/kernel.ts';
import type { Tensor } from '../../src/graph/graph.ts';
import type { LinearOp } from '../../src/graph/ops/linear.ts';
import type { Weight } from '../../src/graph/weight.ts';
import type { Ending } from './epilogue.ts';
import matrixText from './matrix.wgsl?raw';
import wholePartText from './whole-part.wgsl?raw';

/** Matrices within the bound part of a weight, each with rows of x that go through it. */
export interface Product {
  readonly x: Tensor;
  readonly weight: Weight;
  /** x is RMS-normalised first. */
  readonly norm?: Weight | undefined;
  readonly eps: number;
  readonly matrixRows: number;
  /** Matrices of a pass, which may count once for every row that takes them. */
  numMatrices(batch: Pick<BatchCounts, 'rows'>): number;
  /** Rows of x that go through one matrix. */
  readonly numRows: number;
  /** WGSL of `matrix_of(index: u32) -> Matrix`. */
  readonly matrixParts: readonly WgslFile[];
  readonly consts: Readonly<Record<string, Const>>;
  readonly bindings?: Readonly<Record<string, Binding>>;
  readonly ending: Ending;
}

export const matrixFile = wgslFile('kernels/linear/matrix.wgsl', matrixText);
const wholePart = wgslFile('kernels/linear/whole-part.wgsl', wholePartText);

/** `linear`: one matrix, the bound part, for all rows. */
export function linearProduct(op: LinearOp, part: WeightPart): Product {
  const { x, residual } = op.inputs;
  const { weight, norm, bias } = op.weights;
  return {
    x,
    weight,
    norm,
    eps: op.attrs.eps,
    matrixRows: part.rows,
    numMatrices: () => 1,
    numRows: x.shape[0]!,
    matrixParts: [wholePart],
    consts: { part_begin: part.begin, x_offset: x.offset / 4 },
    ending: { out: op.outputs.out, gate: op.attrs.gate, bias, residual, scale: op.attrs.scale },
  };
}
