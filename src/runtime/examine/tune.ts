/**
 * @file Tuning: which variant of the matrix products of a decoded token is the fastest on this device, measured on the model's own
 * weights. Bounded in time: what is not measured by then stays as it is. It never takes a variant that computes wrong values.
 */
import { ShaderCompileError } from '../../errors.ts';
import type { GpuContext } from '../../gpu/device.ts';
import { assemble, type KernelTable, type KernelVariant } from '../../gpu/kernel.ts';
import type { Op } from '../../graph/graph.ts';
import { weightBytes } from '../../graph/plan.ts';
import type { GpuWeights } from '../../weights/upload.ts';
import { buildSources, variantLabel } from '../program/program.ts';
import { createLoneOp, type HotCase, rowsOf, shapeKeyOf, withFewRows } from './lone-op.ts';
import { adapterKey, isRight } from './self-test.ts';
import { openTuningStore, type TuningStore } from './tuning-store.ts';

/** Milliseconds for everything. */
const BUDGET = 2300;
/** Of one measurement: long beside the time to submit and to be told of the end. */
const BATCH = 8;
const REPETITIONS = 3;
/** Weights that a measurement goes through: more than caches hold, so that they come from memory as in a decoded token. */
const LEAST_BYTES = 128 << 20;
/** The first variant stays unless another takes less than this share of its time: differences below are noise. */
export const LEAST_GAIN = 0.97;

export interface TuneOptions {
  /** Milliseconds. */
  budget?: number;
  store?: TuningStore;
  signal?: AbortSignal | undefined;
}

/** The name of the fastest variant for an op, where it is known. */
export type Fastest = (op: Op) => string | undefined;

/** @param cases of the program that decodes. What is found wrong on the way is added to `wrong`. */
export async function tune(
  gpu: GpuContext,
  weights: GpuWeights,
  table: KernelTable,
  cases: readonly HotCase[],
  wrong: Set<string>,
  { budget = BUDGET, store = openTuningStore(), signal }: TuneOptions = {},
): Promise<Fastest> {
  const deadline = performance.now() + budget;
  const best = new Map<string, string>();
  const bytesOf = (c: HotCase): number =>
    c.ops.reduce((sum, op) => sum + ('weight' in op.weights ? weightBytes(op.weights.weight) : 0), 0);
  // Those that take the most time of a token first.
  const products = cases.filter((c) => c.ops[0]!.kind === 'linear').sort((a, b) => bytesOf(b) - bytesOf(a));
  for (const c of products) {
    signal?.throwIfAborted();
    const op = c.ops[0]!;
    const candidates = candidatesOf(gpu, table, op).filter(
      ({ variant }) => !wrong.has(variantLabel(op, variant)),
    );
    if (candidates.length < 2) continue;
    const key = storeKey(gpu, c.key, candidates);
    const stored = await store.get(key);
    const known = candidates.find(({ variant }) => variant.name === stored)?.variant;
    if (known) {
      // It was right once; drivers change.
      if (await isRight(gpu, weights, table, c, known, wrong, signal)) best.set(c.key, known.name);
      continue;
    }
    const found = await fastestOf(gpu, weights, table, c, candidates, wrong, deadline, signal);
    if (found.winner) best.set(c.key, found.winner);
    if (found.isComplete && found.winner) await store.put(key, found.winner);
  }
  const byShape = new Map(cases.map((c) => [shapeKeyOf(c.ops[0]!), best.get(c.key)]));
  return (op) => (op.kind === 'linear' ? byShape.get(shapeKeyOf(op)) : undefined);
}

interface Candidate {
  readonly variant: KernelVariant;
  readonly code: string;
}

/** The variants that can compute an op, each kernel once: lanes that a matrix would have had anyway are no other kernel. */
function candidatesOf(gpu: GpuContext, table: KernelTable, op: Op): Candidate[] {
  // A row must give the same bits in any company, so what computes one row computes any few.
  const able = (table[op.kind] as readonly KernelVariant[]).filter(
    (v) => v.when(op, gpu.traits) && v.when(withFewRows(op), gpu.traits),
  );
  // Tiles are for many rows; with few they only cost time to measure.
  const isFew = able.some(({ name }) => !name.startsWith('tile'));
  const byCode = new Map<string, KernelVariant>();
  for (const variant of able) {
    if (isFew && variant.name.startsWith('tile')) continue;
    const code = buildSources(variant, op, gpu.traits)
      .map(({ source }) => assemble(source).code)
      .join('\n');
    if (!byCode.has(code)) byCode.set(code, variant);
  }
  return [...byCode].map(([code, variant]) => ({ variant, code }));
}

/** A choice holds for one adapter, one shape, and these very kernels. */
export function storeKey(
  gpu: GpuContext,
  shape: string,
  candidates: readonly Pick<Candidate, 'code'>[],
): string {
  let hash = 0x811c9dc5;
  for (const { code } of candidates) {
    for (let i = 0; i < code.length; i++) hash = Math.imul(hash ^ code.charCodeAt(i), 0x01000193);
  }
  return `${adapterKey(gpu.info)} ${shape} ${(hash >>> 0).toString(16)}`;
}

async function fastestOf(
  gpu: GpuContext,
  weights: GpuWeights,
  table: KernelTable,
  hotCase: HotCase,
  candidates: readonly Candidate[],
  wrong: Set<string>,
  deadline: number,
  signal: AbortSignal | undefined,
): Promise<{ winner: string | undefined; isComplete: boolean }> {
  const op = hotCase.ops[0]!;
  const isLate = (): boolean => performance.now() >= deadline;
  if (isLate()) return { winner: undefined, isComplete: false };
  const compiled = Promise.allSettled(
    candidates.flatMap(({ variant }) =>
      buildSources(variant, op, gpu.traits).map(({ source }) =>
        gpu.pipeline(source, variantLabel(op, variant)),
      ),
    ),
  );
  // Compiling cannot be stopped, but nobody needs to wait for it.
  if (!(await before(deadline, compiled))) return { winner: undefined, isComplete: false };
  const repeated = enough(hotCase);
  let winner: { name: string; time: number } | undefined;
  for (const [i, { variant }] of candidates.entries()) {
    signal?.throwIfAborted();
    if (isLate()) return { winner: winner?.name, isComplete: false };
    if (!(await isRight(gpu, weights, table, hotCase, variant, wrong, signal))) continue;
    const time = await timeVariant(gpu, weights, table, repeated, variant, { isLate, signal });
    if (time === undefined) return { winner: winner?.name, isComplete: false };
    // The first is what would be used anyway.
    const least =
      i === 0 || !winner
        ? Number.POSITIVE_INFINITY
        : winner.time * (winner.name === candidates[0]!.variant.name ? LEAST_GAIN : 1);
    if (time < least) winner = { name: variant.name, time };
  }
  return { winner: winner?.name, isComplete: true };
}

/** Whether a promise settles before a time. */
async function before(deadline: number, promise: Promise<unknown>): Promise<boolean> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<boolean>((resolve) => {
    timer = setTimeout(() => resolve(false), Math.max(0, deadline - performance.now()));
  });
  try {
    return await Promise.race([promise.then(() => true), late]);
  } finally {
    clearTimeout(timer);
  }
}

/** As many of the case's ops as one measurement needs. */
function enough(hotCase: HotCase): HotCase {
  const [first] = hotCase.ops;
  const each = first && 'weight' in first.weights ? weightBytes(first.weights.weight) : LEAST_BYTES;
  return { ...hotCase, ops: hotCase.ops.slice(0, Math.max(1, Math.ceil(LEAST_BYTES / each))) };
}

/**
 * Milliseconds for all ops of the case, with `positions` in the caches before them: the median of some batches. Undefined: it
 * got late.
 */
export async function timeVariant(
  gpu: GpuContext,
  weights: GpuWeights,
  table: KernelTable,
  hotCase: HotCase,
  variant: KernelVariant,
  {
    isLate,
    positions = 0,
    workgroups,
    signal,
  }: {
    isLate: () => boolean;
    positions?: number;
    workgroups?: number | undefined;
    signal?: AbortSignal | undefined;
  },
): Promise<number | undefined> {
  const rows = rowsOf(hotCase.ops[0]!);
  const run = await createLoneOp(gpu, weights, table, hotCase, variant, {
    positions: positions + rows,
    repeats: true,
    workgroups,
    signal,
  });
  try {
    const batch = async (times: number): Promise<number> => {
      const began = performance.now();
      for (let i = 0; i < times; i++) run.submit({ rows, position: positions });
      await gpu.device.queue.onSubmittedWorkDone();
      return performance.now() - began;
    };
    // Whatever the first run does besides is no part of it.
    await batch(1);
    const once = await batch(1);
    const count = Math.max(1, Math.min(50, Math.round(BATCH / Math.max(once, 0.1))));
    const times: number[] = [];
    while (times.length < REPETITIONS) {
      signal?.throwIfAborted();
      if (isLate()) return undefined;
      times.push((await batch(count)) / count);
    }
    return times.sort((a, b) => a - b)[times.length >> 1]!;
  } catch (error) {
    if (error instanceof ShaderCompileError) return Number.POSITIVE_INFINITY;
    throw error;
  } finally {
    run.dispose();
  }
}
