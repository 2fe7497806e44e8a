/** @file What a load finds out about the kernels on this device: that they are right, and which are the fastest. Loaded when needed. */
import { kernels } from '../../../kernels/index.ts';
import type { GpuContext } from '../../gpu/device.ts';
import type { KernelTable } from '../../gpu/kernel.ts';
import type { Plan } from '../../graph/plan.ts';
import type { GpuWeights } from '../../weights/upload.ts';
import type { Plans } from '../program/plans.ts';
import { chooseVariant, type Findings, type ForcedVariants } from '../program/program.ts';
import { hotCases, nameOf } from './lone-op.ts';
import { selfTest } from './self-test.ts';
import { tune } from './tune.ts';
import { tuneWorkgroups } from './tune-workgroups.ts';

export interface ExamineOptions {
  tests: boolean;
  tunes: boolean;
  forced: ForcedVariants | undefined;
  signal: AbortSignal | undefined;
  onTune(): void;
  table?: KernelTable;
}

export interface Examined {
  readonly findings: Findings;
  /** The hot ops of a decoded token, and the variant that computes each. */
  readonly variants: Readonly<Record<string, string>>;
}

/** @throws DeviceFaultError when no kernel computes an op rightly */
export async function examine(
  gpu: GpuContext,
  weights: GpuWeights,
  plans: Plans,
  { tests, tunes, forced, signal, onTune, table = kernels }: ExamineOptions,
): Promise<Examined> {
  const wrong = new Set<string>();
  const used = Object.values<Plan>(plans);
  if (tests) await selfTest(gpu, weights, table, hotCases(used), wrong, { forced, signal });
  const decoding = hotCases([plans.rows1]);
  let findings: Findings = { wrong };
  if (tunes) {
    onTune();
    const workgroups = await tuneWorkgroups(gpu, weights, table, decoding, findings, { forced, signal });
    const fastest = forced?.linear ? undefined : await tune(gpu, weights, table, decoding, wrong, { signal });
    findings = { wrong, workgroups, ...(fastest && { fastest }) };
  }
  const variants = decoding.map(({ ops: [op] }) => [
    nameOf(op!),
    chooseVariant(table, op!, gpu.traits, forced, findings).name,
  ]);
  return { findings, variants: Object.fromEntries(variants) };
}
