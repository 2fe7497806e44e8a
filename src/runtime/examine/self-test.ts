/**
 * @file The self-test: before a model answers, every hot kernel that it will use computes something on this device whose
 * answer the host knows. A variant that is wrong, or that the device cannot compile, is left out, and the next takes its place.
 * Drivers have such faults, and a model would only talk nonsense.
 */
import { DeviceFaultError, ShaderCompileError } from '../../errors.ts';
import type { GpuContext } from '../../gpu/device.ts';
import type { KernelTable, KernelVariant } from '../../gpu/kernel.ts';
import type { GpuWeights } from '../../weights/upload.ts';
import {
  buildSources,
  chooseVariant,
  type Findings,
  type ForcedVariants,
  variantLabel,
} from '../program/program.ts';
import { checkAnswers, positionsOf } from './known-answers.ts';
import { createLoneOp, type HotCase, nameOf } from './lone-op.ts';

export interface SelfTestOptions {
  forced?: ForcedVariants | undefined;
  signal?: AbortSignal | undefined;
}

/** Kernels found right, by adapter: once in a page or process is enough. */
const right = new Map<string, Set<string>>();

/** An adapter as one can tell it from others. */
export const adapterKey = ({ vendor, architecture, description }: GpuContext['info']): string =>
  [vendor, architecture, description].join(' | ');

/**
 * Tries what the cases would use and adds to `wrong` what must not be used.
 * @throws DeviceFaultError when nothing is left that computes an op
 */
export async function selfTest(
  gpu: GpuContext,
  weights: GpuWeights,
  table: KernelTable,
  cases: readonly HotCase[],
  wrong: Set<string>,
  { forced, signal }: SelfTestOptions = {},
): Promise<void> {
  const findings: Findings = { wrong };
  let chosen = cases.map((c) => ({ ...c, variant: choose(gpu, table, c, forced, findings) }));
  // All compile at once; they run one by one.
  for (const { ops, variant } of chosen) {
    for (const { source } of buildSources(variant, ops[0]!, gpu.traits)) {
      gpu.pipeline(source, variantLabel(ops[0]!, variant)).catch(() => {});
    }
  }
  while (chosen.length > 0) {
    const again: HotCase[] = [];
    for (const c of chosen) {
      signal?.throwIfAborted();
      const isKnown = wrong.has(variantLabel(c.ops[0]!, c.variant));
      if (isKnown || !(await isRight(gpu, weights, table, c, c.variant, wrong, signal))) again.push(c);
    }
    chosen = again.map((c) => ({ ...c, variant: choose(gpu, table, c, forced, findings) }));
  }
}

/** Tries a variant on a case. When it is wrong it is added to `wrong`, with a warning. */
export async function isRight(
  gpu: GpuContext,
  weights: GpuWeights,
  table: KernelTable,
  hotCase: HotCase,
  variant: KernelVariant,
  wrong: Set<string>,
  signal?: AbortSignal,
): Promise<boolean> {
  const fault = await tryVariant(gpu, weights, table, hotCase, variant, signal);
  if (fault === undefined) return true;
  const op = hotCase.ops[0]!;
  const label = variantLabel(op, variant);
  wrong.add(label);
  console.warn(
    `shaderloom: kernel ${label} does not work on ${adapterKey(gpu.info)} and is not used (${nameOf(op)}: ${fault}). Please report this.`,
  );
  return false;
}

/** What is wrong with a variant on a case; undefined: nothing. */
async function tryVariant(
  gpu: GpuContext,
  weights: GpuWeights,
  table: KernelTable,
  hotCase: HotCase,
  variant: KernelVariant,
  signal?: AbortSignal,
): Promise<string | undefined> {
  const op = hotCase.ops[0]!;
  const known = right.get(adapterKey(gpu.info)) ?? new Set();
  right.set(adapterKey(gpu.info), known);
  let fault: string | undefined;
  let codes: string[];
  try {
    const label = variantLabel(op, variant);
    const sources = buildSources(variant, op, gpu.traits);
    codes = (await Promise.all(sources.map(({ source }) => gpu.pipeline(source, label)))).map(
      ({ code }) => code,
    );
    if (codes.every((code) => known.has(code))) return undefined;
    const run = await createLoneOp(gpu, weights, table, hotCase, variant, {
      positions: positionsOf(op),
      signal,
    });
    try {
      fault = await checkAnswers(gpu, weights, op, run);
    } finally {
      run.dispose();
    }
  } catch (error) {
    if (error instanceof ShaderCompileError) return error.message;
    throw error;
  }
  gpu.throwIfFaulty();
  if (fault === undefined) for (const code of codes) known.add(code);
  return fault;
}

function choose(
  gpu: GpuContext,
  table: KernelTable,
  { ops }: HotCase,
  forced: ForcedVariants | undefined,
  findings: Findings,
): KernelVariant {
  const op = ops[0]!;
  const able = (table[op.kind] as readonly KernelVariant[]).filter((v) => v.when(op, gpu.traits));
  if (able.length > 0 && able.every((v) => findings.wrong.has(variantLabel(op, v)))) {
    throw new DeviceFaultError(
      `No kernel computes ${nameOf(op)} (${op.scope}) rightly on ${adapterKey(gpu.info)}: ${able.map((v) => variantLabel(op, v)).join(', ')} all failed the self-test. Update the browser and the graphics driver, and please report this; debug: { subgroups: false, f16: false } may help.`,
    );
  }
  return chooseVariant(table, op, gpu.traits, forced, findings);
}
