/**
 * @file Whether a model fits this device now: the arithmetic of fit.ts with the device's limits, and what it gives when asked.
 * Browsers tell nothing else that helps: limits of buffers are the same for cards of 4 and 24 GiB, and navigator.deviceMemory
 * is the computer's memory, rounded and capped.
 */
import { probeMemory } from '../../gpu/buffers.ts';
import type { GpuContext } from '../../gpu/device.ts';
import type { Fit } from '../types.ts';
import { type Answer, type FitQuestion, findFit } from './fit.ts';

export interface MeasureOptions {
  memoryBytes: number | undefined;
  /** Called before the device is asked for memory. */
  onProbe?: (() => void) | undefined;
  /** Ask also when what was wanted is beyond known limits, for what would fit in its place. */
  probesBest: boolean;
  signal: AbortSignal | undefined;
}

/** Nothing stays allocated. @throws DeviceLostError when the device did not survive being asked */
export async function measureFit(
  gpu: GpuContext,
  question: FitQuestion,
  { memoryBytes, onProbe, probesBest, signal }: MeasureOptions,
): Promise<{ answer: Answer; fit: Fit }> {
  const space = { bindingBytes: gpu.traits.maxBindingBytes, memoryBytes, info: gpu.info };
  let answer = findFit(question, space);
  let probedBytes: number | undefined;
  if (answer.fits || probesBest) {
    onProbe?.();
    // Software adapters have the computer's memory: Mesa's promises any amount, Chrome's fills what it promises with zeros.
    if (answer.best && !gpu.info.isFallback) {
      probedBytes = await probe(gpu, answer.bestBytes, signal);
      if (probedBytes < answer.bestBytes) answer = findFit(question, { ...space, memoryBytes: probedBytes });
    }
  }
  const { fits, reasons, best, needed } = answer;
  const available = { memoryBytes, probedBytes, bindingBytes: space.bindingBytes };
  return { answer, fit: { fits, reasons, best, needed, available } };
}

async function probe(gpu: GpuContext, bytes: number, signal: AbortSignal | undefined): Promise<number> {
  try {
    return await probeMemory(gpu.device, bytes, signal);
  } finally {
    gpu.throwIfFaulty();
  }
}
