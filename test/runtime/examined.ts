/** @file A tiny model's weights on a device and its plans, for tests of what is found out about kernels there. */

import { type GpuContext, openDevice } from '../../src/gpu/device.ts';
import { everyWeight } from '../../src/runtime/load/fit.ts';
import { openModel } from '../../src/runtime/load/load.ts';
import type { Plans } from '../../src/runtime/program/plans.ts';
import type { GpuWeights } from '../../src/weights/upload.ts';
import { uploadWeights } from '../../src/weights/upload.ts';
import { fixtureFolders } from '../fixture-folders.ts';

export interface TinyModel {
  gpu: GpuContext;
  weights: GpuWeights;
  plans: Plans;
}

export async function tinyModel(name: string, contextLength = 128): Promise<TinyModel> {
  const { source } = fixtureFolders('tinyModels').find((f) => f.name === name)!;
  const opened = await openModel(source, { contextLength, prefillRows: 40 });
  const gpu = await openDevice();
  try {
    const weights = await uploadWeights(gpu, opened.checkpoint, everyWeight(opened.plans));
    return { gpu, weights, plans: opened.plans };
  } catch (error) {
    gpu.dispose();
    throw error;
  }
}
