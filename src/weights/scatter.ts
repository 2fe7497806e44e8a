/** @file Words from a staging buffer to where a weight has them, on the GPU. It must not know what they mean. */
import scatterCode from '../../kernels/loading/scatter-words.wgsl?raw';
import type { GpuContext } from '../gpu/device.ts';
import { wgslFile } from '../gpu/kernel.ts';
import { createUploadPass, groupsOf } from './upload-pass.ts';

/** See scatter-words.wgsl: counts and steps, in words. */
export interface WordMoves {
  majors: { count: number; src: number; dst: number };
  minors: { count: number; dst: number };
  first: { src: number; dst: number };
}

export interface Scatter {
  /** `from` must stay as it is until this resolves. */
  move(from: GPUBuffer, to: GPUBuffer, moves: WordMoves): Promise<void>;
  dispose(): void;
}

export function createScatter(gpu: GpuContext): Scatter {
  const pass = createUploadPass(gpu, 'scatter-words', {
    body: wgslFile('kernels/loading/scatter-words.wgsl', scatterCode),
    params: ['majors', 'minors', 'src_first', 'src_major', 'dst_first', 'dst_major', 'dst_minor'],
    bindings: { src: { type: 'u32' }, dst: { type: 'u32', access: 'read_write' } },
  });
  return {
    dispose: pass.dispose,
    move(from, to, { majors, minors, first }) {
      return pass.run(
        {
          majors: majors.count,
          minors: minors.count,
          src_first: first.src,
          src_major: majors.src,
          dst_first: first.dst,
          dst_major: majors.dst,
          dst_minor: minors.dst,
        },
        [from, to],
        groupsOf(majors.count * minors.count),
      );
    },
  };
}
