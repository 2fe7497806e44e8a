/**
 * @file One hot op of a plan, taken out of it to run by itself on the model's own weights: in the self-test with inputs that the
 * host knows, in tuning again and again. Its kernels are the plan's, to the letter, so nothing compiles twice.
 */
import { type BufferPool, readBuffer } from '../../gpu/buffers.ts';
import type { GpuContext } from '../../gpu/device.ts';
import { type KernelTable, type KernelVariant, splitRows } from '../../gpu/kernel.ts';
import { BLOCK_LENGTH } from '../../graph/batch.ts';
import {
  baseOf,
  createGraph,
  createTensor,
  type Graph,
  type Op,
  rowSize,
  type Tensor,
} from '../../graph/graph.ts';
import { FEW_ROWS } from '../../graph/op-list.ts';
import type { GroupEntriesOp } from '../../graph/ops/experts.ts';
import { type Plan, planGraph } from '../../graph/plan.ts';
import type { Weight } from '../../graph/weight.ts';
import { decodeRow } from '../../weights/decode.ts';
import type { GpuWeights } from '../../weights/upload.ts';
import { BatchWriter, countsOf } from '../generate/batch.ts';
import { Executor } from '../program/executor.ts';

/** Ops where a token's time goes, and where kernels are intricate. */
const HOT = ['linear', 'expertLinear', 'attend', 'attendSplit'] as const;
export type HotOp = Extract<Op, { kind: (typeof HOT)[number] }>;

const isHot = (op: Op): op is HotOp => (HOT as readonly string[]).includes(op.kind);

/** Ops that differ in nothing that a kernel sees but the values of weights. */
export interface HotCase {
  readonly key: string;
  readonly ops: readonly HotOp[];
  /** What sorts an expert's entries before it, where many rows are. */
  readonly grouping?: GroupEntriesOp | undefined;
}

/** The hot ops of some plans, by what their kernels depend on. */
export function hotCases(plans: readonly Plan[]): HotCase[] {
  const cases = new Map<string, HotCase & { ops: HotOp[] }>();
  for (const { graph } of plans) {
    for (const op of graph.ops) {
      if (!isHot(op)) continue;
      const key = keyOf(op);
      const known = cases.get(key);
      if (known) {
        known.ops.push(op);
        continue;
      }
      const entries = op.kind === 'expertLinear' ? op.inputs.entries : undefined;
      const grouping = graph.ops.find(
        (o): o is GroupEntriesOp => o.kind === 'groupEntries' && o.outputs.entries === entries,
      );
      cases.set(key, { key, ops: [op], grouping: entries && grouping });
    }
  }
  return [...cases.values()];
}

/** What the kernels of an op depend on, as text that is the same in every run. */
export function keyOf({ kind, attrs, inputs, weights, outputs }: Op): string {
  const tensor = (t: Tensor | undefined): unknown =>
    t && [t.name === 'batch' ? [] : t.shape, t.dtype, t.rowStride, t.offset];
  const weight = (w: Weight | undefined): unknown => w && [w.format.name, w.rows, w.cols, w.unitRows];
  const all = <T>(roles: object, say: (value: T) => unknown): unknown =>
    Object.entries(roles).flatMap(([role, value]) => (value ? [[role, say(value as T)]] : []));
  return JSON.stringify([kind, attrs, all(inputs, tensor), all(weights, weight), all(outputs, tensor)]);
}

/** The same for all numbers of rows that are few: kernels that compute one of them compute the others too. */
export const shapeKeyOf = (op: Op): string => keyOf(withFewRows(op));

/** An op as it is for the most rows that are few; for more it stays as it is. */
export function withFewRows<O extends Op>(op: O): O {
  const rows = 'x' in op.inputs ? op.inputs.x.shape[0]! : 0;
  if (rows === 0 || rows > FEW_ROWS) return op;
  const widen = (roles: object): object =>
    Object.fromEntries(
      Object.entries(roles).map(([role, t]: [string, Tensor | undefined]) => [
        role,
        t && { ...t, shape: [FEW_ROWS, ...t.shape.slice(1)] },
      ]),
    );
  return { ...op, inputs: widen(op.inputs), outputs: widen(op.outputs) };
}

/** What a person calls such an op: `linear 3072 x 1024 int4-32-f16-zero, 1 row, norm`. */
export function nameOf(op: HotOp): string {
  const rows = rowsOf(op);
  const counted = `${rows} ${rows === 1 ? 'row' : 'rows'}`;
  if (!('weight' in op.weights)) return `${op.kind} ${inputOf(op).shape.slice(1).join(' x ')}, ${counted}`;
  const { weight, norm } = op.weights;
  return `${op.kind} ${weight.rows} x ${weight.cols} ${weight.format.name}, ${counted}${norm ? ', norm' : ''}`;
}

/** Rows that an op was recorded for. */
export const rowsOf = (op: HotOp): number => inputOf(op).shape[0]!;

const inputOf = ({ inputs }: HotOp): Tensor => ('x' in inputs ? inputs.x : inputs.q);

/** Copies of ops on tensors of their own. The same tensor stays the same, and what outlives a pass keeps its name. */
function copyOps(graph: Graph, ops: readonly Op[]): Op[] {
  const copies = new Map<Tensor, Tensor>();
  const copy = (t: Tensor): Tensor => {
    const known = copies.get(t);
    if (known) return known;
    const { name, dtype, shape, role } = t;
    let made: Tensor;
    if (t.base) {
      const base = copy(t.base);
      made = { ...t, graph, id: graph.tensors.length, base, lifetime: base.lifetime };
      graph.tensors.push(made);
    } else {
      made = createTensor(graph, shape, { name, dtype, ...(role && { role }) });
    }
    copies.set(t, made);
    return made;
  };
  const every = (roles: object): Record<string, Tensor | undefined> =>
    Object.fromEntries(
      Object.entries(roles).map(([role, t]) => [role, (t as Tensor | undefined) && copy(t as Tensor)]),
    );
  return ops.map((op) => ({ ...op, inputs: every(op.inputs), outputs: every(op.outputs) }) as Op);
}

/** Rows of one sequence, the first at a position. */
export interface LoneRows {
  readonly rows: number;
  readonly position: number;
}

export interface LoneOp<O extends HotOp = HotOp> {
  /** On tensors of this run. */
  readonly op: O;
  readonly executor: Executor<'run'>;
  /** Fills a tensor's rows, in order: numbers, or the bits of f16. */
  write(tensor: Tensor, values: ArrayLike<number>): void;
  /** Fills the first blocks of a cache, which are those of the rows' sequence. */
  writeCache(tensor: Tensor, bytes: Uint8Array<ArrayBuffer>): void;
  submit(rows: LoneRows): void;
  /** Dense rows of an f32 tensor. */
  read(tensor: Tensor, rows: number): Promise<Float32Array>;
  dispose(): void;
}

/** `variant` of the case's op; with `repeats` all ops of the case, one after the other. */
export async function createLoneOp(
  gpu: GpuContext,
  weights: GpuWeights,
  table: KernelTable,
  { ops, grouping }: HotCase,
  variant: KernelVariant,
  {
    positions = 1,
    repeats = false,
    workgroups,
    signal,
  }: {
    positions?: number;
    repeats?: boolean;
    workgroups?: number | undefined;
    signal?: AbortSignal | undefined;
  } = {},
): Promise<LoneOp> {
  const [first] = ops;
  const { layout } = inputOf(first!).graph;
  const graph = createGraph(() => {
    throw new RangeError('ops have their weights already');
  }, layout);
  const alone = repeats
    ? ops.map((op) => ({ ...first!, weights: op.weights }) as HotOp)
    : ([first!] as const);
  graph.ops.push(...copyOps(graph, [...(grouping ? [grouping] : []), ...alone]));
  const op = graph.ops.at(-1)! as HotOp;
  const plan = planGraph(graph, { reuse: false });
  const numBlocks = Math.ceil(positions / BLOCK_LENGTH);
  const executor = await Executor.create<'run'>(gpu, weights, { run: plan }, table, {
    forced: { [op.kind]: variant.name },
    findings: { wrong: new Set(), workgroups },
    signal,
    unitsOf: ({ kind }) => (kind === 'kv' ? numBlocks : 1),
  });
  const bufferOf = (t: Tensor): GPUBuffer =>
    baseOf(t).lifetime === 'session'
      ? executor.buffer(baseOf(t).name)
      : executor.stepBuffer('run', baseOf(t));
  const writer = new BatchWriter(layout, { type: 'default', theta: 1, dim: 2 }, (words, first) =>
    gpu.device.queue.writeBuffer(executor.buffer('batch'), 4 * first, words),
  );
  const hasBatch = plan.inputs.includes('batch');
  if (hasBatch) {
    const blocks = Array.from({ length: numBlocks }, (_, block) => block);
    layout.windows.forEach((_, group) => {
      writer.writeTable(0, group, 0, blocks);
    });
  }
  return {
    op,
    executor,
    write(tensor, values) {
      const size = rowSize(tensor);
      const Words =
        tensor.dtype === 'f16' ? Uint16Array : tensor.dtype === 'u32' ? Uint32Array : Float32Array;
      const { rowStride, offset } = tensor;
      const words = new Words(Math.ceil((tensor.shape[0]! * rowStride) / 4) * 4);
      for (let i = 0; i < values.length; i++) {
        words[offset + Math.floor(i / size) * rowStride + (i % size)] = values[i]!;
      }
      gpu.device.queue.writeBuffer(bufferOf(tensor), 0, words);
    },
    writeCache: (tensor, bytes) => gpu.device.queue.writeBuffer(bufferOf(tensor), 0, bytes),
    submit({ rows, position }) {
      const batch = [{ slot: 0, position, tokens: new Array(rows).fill(0), length: position + rows }];
      if (hasBatch) writer.write(batch);
      executor.submit('run', countsOf(batch, executor.workgroups));
    },
    async read(tensor, rows) {
      const all = new Float32Array(await readBuffer(gpu.buffers, bufferOf(tensor)));
      const size = rowSize(tensor);
      const dense = new Float32Array(rows * size);
      for (let r = 0; r < rows; r++) {
        const begin = tensor.offset + r * tensor.rowStride;
        dense.set(all.subarray(begin, begin + size), r * size);
      }
      return dense;
    },
    dispose: () => executor.dispose(),
  };
}

/** Values of some rows of a weight as the GPU has them; undefined when its format is not known to the host. */
export async function readWeightRows(
  { buffers, device, traits }: Pick<GpuContext, 'device' | 'traits'> & { buffers: BufferPool },
  weights: GpuWeights,
  weight: Weight,
  rows: readonly number[],
): Promise<Map<number, Float64Array> | undefined> {
  const parts = weight.isVector
    ? [{ index: 0, begin: 0, rows: 1 }]
    : splitRows(weight, traits.maxBindingBytes);
  const sections = weight.format.sections.map((s) => ({ ...s, bytes: s.rowBytes(weight.cols) }));
  const rowBytes = sections.reduce((sum, { bytes }) => sum + bytes, 0);
  const staging = buffers.readback('rows of a weight', rows.length * rowBytes);
  try {
    const encoder = device.createCommandEncoder();
    rows.forEach((row, i) => {
      const part = parts.findLast(({ begin }) => begin <= row)!;
      let at = i * rowBytes;
      for (const { name, bytes } of sections) {
        encoder.copyBufferToBuffer(
          weights.buffer(weight, name, part),
          (row - part.begin) * bytes,
          staging,
          at,
          bytes,
        );
        at += bytes;
      }
    });
    device.queue.submit([encoder.finish()]);
    await staging.mapAsync(GPUMapMode.READ);
    const bytes = staging.getMappedRange();
    const found = new Map<number, Float64Array>();
    for (const [i, row] of rows.entries()) {
      let at = i * rowBytes;
      const views: Record<string, DataView> = {};
      for (const section of sections) {
        views[section.name] = new DataView(bytes, at, section.bytes);
        at += section.bytes;
      }
      const values = decodeRow(weight.format, views, weight.cols);
      if (!values) return undefined;
      found.set(row, values);
    }
    return found;
  } finally {
    buffers.destroy(staging);
  }
}
