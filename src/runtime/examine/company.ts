/**
 * @file Whether a row gives the same bits alone and among others on this device: what a program of several rows computes for its first
 * row, beside what the program of one row does. Subgroup sizes and the contraction of a * b + c may differ from pipeline to pipeline,
 * so it is tried, not assumed. Loaded when a program of several rows is first made.
 */
import type { GpuContext } from '../../gpu/device.ts';
import type { KernelTable } from '../../gpu/kernel.ts';
import { baseOf, rowSize, type Tensor } from '../../graph/graph.ts';
import { FEW_ROWS } from '../../graph/op-list.ts';
import type { Plan } from '../../graph/plan.ts';
import type { GpuWeights } from '../../weights/upload.ts';
import { chooseVariant, type Findings, type ForcedVariants, variantLabel } from '../program/program.ts';
import { createRandom, type Random } from './known-answers.ts';
import { createLoneOp, type HotCase, hotCases, type LoneOp, nameOf, rowsOf, shapeKeyOf } from './lone-op.ts';
import { adapterKey } from './self-test.ts';

export interface CompanyOptions {
  forced?: ForcedVariants | undefined;
  findings?: Findings | undefined;
}

/** Pairs of kernels found alike, by adapter: once in a page or process is enough. */
const alike = new Set<string>();

/** Positions before the row that attention is tried with: more than one split. */
const POSITION = 90;

/**
 * The hot ops whose first row differs between two programs, by name; the second has more rows. Programs that differ must not be used for
 * the same sequence.
 */
export async function differencesOf(
  gpu: GpuContext,
  weights: GpuWeights,
  table: KernelTable,
  [alone, company]: readonly [Plan, Plan],
  options: CompanyOptions,
): Promise<string[]> {
  const others = new Map(hotCases([company]).map((c) => [shapeKeyOf(c.ops[0]!), c]));
  const different: string[] = [];
  for (const one of hotCases([alone])) {
    const other = others.get(shapeKeyOf(one.ops[0]!));
    if (!other) continue;
    const key = `${adapterKey(gpu.info)} ${one.key} ${other.key} ${labelOf(gpu, table, one, options)}`;
    if (alike.has(key)) continue;
    const [a, b] = [
      await firstRow(gpu, weights, table, one, options),
      await firstRow(gpu, weights, table, other, options),
    ];
    if (a.every((word, i) => word === b[i])) alike.add(key);
    else different.push(nameOf(other.ops[0]!));
  }
  return different;
}

const variantOf = (gpu: GpuContext, table: KernelTable, { ops }: HotCase, options: CompanyOptions) =>
  chooseVariant(table, ops[0]!, gpu.traits, options.forced, options.findings);

const labelOf = (gpu: GpuContext, table: KernelTable, c: HotCase, options: CompanyOptions): string =>
  variantLabel(c.ops[0]!, variantOf(gpu, table, c, options));

/** The bits of an op's first row of outputs, with the same inputs for every number of rows. */
async function firstRow(
  gpu: GpuContext,
  weights: GpuWeights,
  table: KernelTable,
  c: HotCase,
  options: CompanyOptions,
): Promise<Uint32Array> {
  const { capacity } = layoutOf(c);
  const rows = rowsOf(c.ops[0]!);
  // The same for any number of rows.
  const position = Math.max(0, Math.min(POSITION, capacity - FEW_ROWS));
  const positions = position + FEW_ROWS;
  const run = await createLoneOp(gpu, weights, table, c, variantOf(gpu, table, c, options), {
    positions,
    workgroups: options.findings?.workgroups,
  });
  try {
    fill(run, createRandom(), positions);
    run.submit({ rows, position });
    const outputs: Tensor[] = Object.values(run.op.outputs);
    const found = await run.read(outputs[0]!, 1);
    return new Uint32Array(found.buffer);
  } finally {
    run.dispose();
  }
}

const layoutOf = ({ ops: [op] }: HotCase) => ('x' in op!.inputs ? op!.inputs.x : op!.inputs.q).graph.layout;

/** The same numbers in the same places of the first row, whatever the rows. */
function fill(run: LoneOp, random: Random, positions: number): void {
  const { inputs } = run.op;
  if ('q' in inputs) {
    const [keys, values] = [baseOf(inputs.keys), baseOf(inputs.values)];
    const numBlocks = Math.ceil(positions / keys.shape[0]!);
    run.writeCache(keys, random.cached(keys, numBlocks).bytes);
    if (values !== keys) run.writeCache(values, random.cached(values, numBlocks).bytes);
    run.write(inputs.q, repeated(random.normals(rowSize(inputs.q)), inputs.q));
    return;
  }
  run.write(inputs.x, repeated(random.normals(rowSize(inputs.x)), inputs.x));
  if (inputs.residual)
    run.write(inputs.residual, repeated(random.normals(rowSize(inputs.residual)), inputs.residual));
  if ('experts' in inputs) {
    const k = rowSize(inputs.experts);
    run.write(
      inputs.experts,
      repeated(
        Float32Array.from({ length: k }, (_, s) => s),
        inputs.experts,
      ),
    );
    if (inputs.scales) run.write(inputs.scales, repeated(random.normals(k), inputs.scales));
  }
}

/** A row for each of the tensor's. */
function repeated(row: Float32Array, { shape }: Tensor): Float32Array {
  const all = new Float32Array(shape[0]! * row.length);
  for (let r = 0; r < shape[0]!; r++) all.set(row, r * row.length);
  return all;
}
