/** @file The question of apps whether a model would fit, before anything of its weights is downloaded. */
import { openDevice } from '../gpu/device.ts';
import { deviceOptions, openModel, type SourceLike } from './load.ts';
import { measureFit } from './measure-fit.ts';
import type { Fit, LoadOptions } from './types.ts';

/**
 * Tells whether `loadModel(from, options)` would fit this GPU, and what would fit instead. Reads configs and headers, takes a
 * device, asks it for the memory, and gives everything back. It proves what `FitSpace` says: limits and refusals are certain,
 * a yes is not, since nothing in WebGPU tells how much memory is free.
 * @throws what `loadModel` throws about a checkpoint, an option or an environment that cannot be used
 */
export async function checkFit(from: SourceLike, options: LoadOptions = {}): Promise<Fit> {
  const { memoryBytes, signal } = options;
  const opened = await openModel(from, options);
  const gpu = await openDevice(deviceOptions(options));
  try {
    return (await measureFit(gpu, opened, { memoryBytes, probesBest: true, signal })).fit;
  } finally {
    gpu.dispose();
  }
}
