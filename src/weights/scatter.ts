/** @file Words from a staging buffer to where a weight has them, on the GPU. It must not know what they mean. */
import scatterCode from '../../kernels/weights/scatter-words.wgsl?raw';
import type { GpuContext } from '../gpu/device.ts';
import { createUploadPass, groupsOf } from './upload-pass.ts';

/** See scatter-words.wgsl: counts and steps, in words. */
export interface WordMoves {
  majors: { count: number; src: number; dst: number };
  minors: { count: number; dst: number };
  first: { src: number; dst: number };
}

export interface Scatter {
  move(from: GPUBuffer, to: GPUBuffer, moves: WordMoves): void;
  dispose(): void;
}

export function createScatter(gpu: GpuContext): Scatter {
  const pass = createUploadPass(gpu, 'scatter-words', scatterCode);
  return {
    dispose: pass.dispose,
    move(from, to, { majors, minors, first }) {
      pass.run(
        [majors.count, minors.count, first.src, majors.src, first.dst, majors.dst, minors.dst, 0],
        [from, to],
        groupsOf(majors.count * minors.count),
      );
    },
  };
}
