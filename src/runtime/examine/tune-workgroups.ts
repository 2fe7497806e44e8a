/**
 * @file Tuning: how many workgroups fill this device, found with the attention of a decoded token over a long context: with too
 * few of them cores have nothing to do, and each one more begins and ends a split. Bounded in time like `tune`.
 */
import { splitLengthOf } from '../../../kernels/attention/split.ts';
import type { GpuContext } from '../../gpu/device.ts';
import { assemble, type KernelTable } from '../../gpu/kernel.ts';
import { baseOf, tensorBytes } from '../../graph/graph.ts';
import { MAX_WORKGROUPS } from '../../graph/lower.ts';
import type { AttendSplitOp } from '../../graph/ops/attention.ts';
import type { GpuWeights } from '../../weights/upload.ts';
import { buildSources, chooseVariant, type Findings, type ForcedVariants } from '../program/program.ts';
import { type HotCase, rowsOf } from './lone-op.ts';
import { LEAST_GAIN, storeKey, timeVariant } from './tune.ts';
import { openTuningStore, type TuningStore } from './tuning-store.ts';

/** Milliseconds. */
const BUDGET = 400;
/** The fewest first: what more of them do not make faster stays with few. */
const CANDIDATES = [64, 128, 256, MAX_WORKGROUPS];
/** Tokens of the context that is measured, where its cache is not larger than this many bytes. */
const CONTEXT = 4096;
const MAX_CACHE_BYTES = 2 ** 25;
/** Layers in a measurement: a software adapter takes long for one. */
const MAX_LAYERS = 8;

/** @param cases of the program that decodes. Undefined: there was no time, or it makes no difference. */
export async function tuneWorkgroups(
  gpu: GpuContext,
  weights: GpuWeights,
  table: KernelTable,
  cases: readonly HotCase[],
  findings: Findings,
  {
    budget = BUDGET,
    store = openTuningStore(),
    forced,
    signal,
  }: {
    budget?: number;
    store?: TuningStore;
    forced?: ForcedVariants | undefined;
    signal?: AbortSignal | undefined;
  } = {},
): Promise<number | undefined> {
  const deadline = performance.now() + budget;
  const isLate = (): boolean => performance.now() >= deadline;
  const found = cases.find(({ ops: [op] }) => op!.kind === 'attendSplit');
  if (!found) return undefined;
  const hotCase = { ...found, ops: found.ops.slice(0, MAX_LAYERS) };
  const op = hotCase.ops[0] as AttendSplitOp;
  const variant = chooseVariant(table, op, gpu.traits, forced, findings);
  const rows = rowsOf(op);
  const positions = contextOf(op) - rows;
  const lengthWith = (workgroups: number): number =>
    splitLengthOf(op.attrs, { context: positions + rows, workgroups });
  const candidates = CANDIDATES.filter((n, i) => i === 0 || lengthWith(n) !== lengthWith(CANDIDATES[i - 1]!));
  if (candidates.length < 2) return undefined;
  const codes = buildSources(variant, op, gpu.traits).map(({ source }) => assemble(source));
  const key = storeKey(gpu, `workgroups ${positions} ${hotCase.key}`, codes);
  const stored = Number(await store.get(key));
  if (candidates.includes(stored)) return stored;
  let best: { workgroups: number; time: number } | undefined;
  for (const workgroups of candidates) {
    signal?.throwIfAborted();
    const options = { isLate, positions, workgroups, signal };
    const time = isLate() ? undefined : await timeVariant(gpu, weights, table, hotCase, variant, options);
    if (time === undefined) return undefined;
    if (!best || time < LEAST_GAIN * best.time) best = { workgroups, time };
  }
  await store.put(key, String(best!.workgroups));
  return best!.workgroups;
}

/** Tokens of the context to measure. */
function contextOf({ inputs: { keys, values, batch } }: AttendSplitOp): number {
  const caches = [...new Set([baseOf(keys), baseOf(values)])];
  const perToken = caches.reduce((sum, t) => sum + tensorBytes(t) / t.shape[0]!, 0);
  return Math.min(CONTEXT, batch.graph.layout.capacity, Math.floor(MAX_CACHE_BYTES / perToken));
}
