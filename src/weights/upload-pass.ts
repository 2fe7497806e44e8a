/**
 * @file Small compute passes of loading: numbers, some buffers, a thread for each piece of work. It must not know what the
 * kernels make of them.
 */
import type { GpuContext, Pipeline } from '../gpu/device.ts';
import type { ShaderSource } from '../gpu/kernel.ts';

/** Threads of a workgroup of these kernels, where `run` counts threads. */
const GROUP_THREADS = 64;

/** Their kernels; `P` are the names of the numbers. */
export interface UploadSource<P extends string> extends ShaderSource {
  readonly params: readonly P[];
}

export interface UploadPass<P extends string> {
  /**
   * Submits one dispatch, once the kernel is compiled: what is bound must stay as it is until then.
   * @param bound in the order of the source's bindings
   * @param groups workgroups
   */
  run(params: Readonly<Record<P, number>>, bound: readonly GPUBuffer[], groups: number): Promise<void>;
  dispose(): void;
}

/** Workgroups that have so many threads in all. */
export const groupsOf = (threads: number): number => Math.ceil(threads / GROUP_THREADS);

/** A kernel that is compiled when it is first run, since most loads need none. */
export function createUploadPass<P extends string>(
  gpu: GpuContext,
  label: string,
  source: UploadSource<P>,
): UploadPass<P> {
  const { device, buffers } = gpu;
  let compiled: Promise<Pipeline> | undefined;
  let uniform: GPUBuffer | undefined;
  return {
    async run(params, bound, groups) {
      compiled ??= gpu.pipeline(source, label);
      const { pipeline, layout } = await compiled;
      uniform ??= buffers.uniform(`${label} params`, source.params.length * 4);
      device.queue.writeBuffer(
        uniform,
        0,
        Uint32Array.from(source.params, (name) => params[name]),
      );
      const encoder = device.createCommandEncoder();
      const pass = encoder.beginComputePass();
      pass.setPipeline(pipeline);
      pass.setBindGroup(
        0,
        device.createBindGroup({
          layout,
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
