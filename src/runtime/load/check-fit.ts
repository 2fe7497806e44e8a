/** @file The question of apps whether a model would fit, before anything of its weights is downloaded. */
import { openDevice } from '../../gpu/device.ts';
import { downloadBytes, shardBytes } from '../../weights/download.ts';
import type { CheckedFit, FitFiles, LoadOptions } from '../types.ts';
import { everyWeight } from './fit.ts';
import { deviceOptions, type OpenedModel, openModel, type SourceLike } from './load.ts';
import { measureFit } from './measure-fit.ts';

/** tokenizer.json of a vocabulary of 150,000 takes 11 MB; configs and the index little. */
const SMALL_FILES_BYTES = 16 << 20;

/**
 * Tells whether `loadModel(from, options)` would fit this GPU, and what would fit instead. Reads configs and headers, takes a
 * device, asks it for the memory, and gives everything back. It proves what `FitSpace` says: limits and refusals are certain,
 * a yes is not, since nothing in WebGPU tells how much memory is free.
 * @throws what `loadModel` throws about a checkpoint, an option or an environment that cannot be used
 */
export async function checkFit(from: SourceLike, options: LoadOptions = {}): Promise<CheckedFit> {
  const { memoryBytes, signal } = options;
  const opened = await openModel(from, options);
  const gpu = await openDevice(deviceOptions(options));
  try {
    const { fit } = await measureFit(gpu, opened, { memoryBytes, probesBest: true, signal });
    return { ...fit, files: { ...filesOf(opened), availableBytes: await storageLeft() } };
  } finally {
    gpu.dispose();
  }
}

/** What a checkpoint's files take, from its headers. */
export function filesOf({ checkpoint, plans }: OpenedModel): Omit<FitFiles, 'availableBytes'> {
  return {
    downloadBytes: downloadBytes(checkpoint, everyWeight(plans)),
    storeBytes: shardBytes(checkpoint) + SMALL_FILES_BYTES,
  };
}

/** What this origin may store beside what it has; Node and pages that are not secure have no such thing. */
async function storageLeft(): Promise<number | undefined> {
  try {
    const { quota, usage = 0 } = (await globalThis.navigator?.storage?.estimate()) ?? {};
    return quota === undefined ? undefined : Math.max(0, quota - usage);
  } catch {
    return undefined;
  }
}
