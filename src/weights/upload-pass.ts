/** @file Small compute passes of loading: a uniform, some buffers, a thread for each piece of work. */
import type { GpuContext } from '../gpu/device.ts';

/** Threads of a workgroup of these kernels, where `run` counts threads. */
const GROUP_THREADS = 64;

export interface UploadPass {
  /**
   * Submits one dispatch.
   * @param params of the uniform at binding 0
   * @param bound from binding 1 on
   * @param groups workgroups
   */
  run(params: readonly number[], bound: readonly GPUBuffer[], groups: number): void;
  dispose(): void;
}

/** Workgroups that have so many threads in all. */
export const groupsOf = (threads: number): number => Math.ceil(threads / GROUP_THREADS);

/** A kernel that is compiled when it is first run, since most loads need none. */
export function createUploadPass({ device, buffers }: GpuContext, label: string, code: string): UploadPass {
  let pipeline: GPUComputePipeline | undefined;
  let uniform: GPUBuffer | undefined;
  return {
    run(params, bound, groups) {
      pipeline ??= device.createComputePipeline({
        label,
        layout: 'auto',
        compute: { module: device.createShaderModule({ label, code }), entryPoint: 'main' },
      });
      uniform ??= buffers.uniform(`${label} params`, params.length * 4);
      device.queue.writeBuffer(uniform, 0, new Uint32Array(params));
      const encoder = device.createCommandEncoder();
      const pass = encoder.beginComputePass();
      pass.setPipeline(pipeline);
      pass.setBindGroup(
        0,
        device.createBindGroup({
          layout: pipeline.getBindGroupLayout(0),
          entries: [uniform, ...bound].map((buffer, binding) => ({ binding, resource: { buffer } })),
        }),
      );
      const x = Math.min(groups, device.limits.maxComputeWorkgroupsPerDimension);
      pass.dispatchWorkgroups(x, Math.ceil(groups / x));
      pass.end();
      device.queue.submit([encoder.finish()]);
    },
    dispose() {
      if (uniform) buffers.destroy(uniform);
    },
  };
}

/** A storage buffer that grows to what is asked of it. */
export interface GrowingBuffer {
  atLeast(bytes: number): GPUBuffer;
  dispose(): void;
}

export function createGrowingBuffer({ buffers }: GpuContext, label: string): GrowingBuffer {
  let buffer: GPUBuffer | undefined;
  const dispose = (): void => {
    if (buffer) buffers.destroy(buffer);
    buffer = undefined;
  };
  return {
    dispose,
    atLeast(bytes) {
      if (buffer && buffer.size >= bytes) return buffer;
      dispose();
      buffer = buffers.storage(label, bytes);
      return buffer;
    },
  };
}
