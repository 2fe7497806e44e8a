/**
 * @file Counts what any library does with WebGPU, by wrapping the methods of its classes: the same counter for all contenders.
 * Must be installed before a device is asked for.
 */

export interface GpuCounts {
  dispatches: number;
  submits: number;
  passes: number;
  createdBuffers: number;
  /** Buffers mapped for reading. */
  readbacks: number;
}

export interface GpuCounter {
  /** Since the counter began. */
  counts(): GpuCounts;
  /** Bytes of buffers that were created and not destroyed. */
  liveBytes(): number;
}

type Method = (...args: never[]) => unknown;

/** Calls `seen` with object, result and arguments of each call of a method. */
function watch<T extends object, K extends keyof T & string>(
  { prototype }: { prototype: T },
  name: K,
  seen: (self: T, result: ReturnType<Extract<T[K], Method>>, ...args: Parameters<Extract<T[K], Method>>) => void,
): void {
  const original = prototype[name] as Method;
  Object.defineProperty(prototype, name, {
    configurable: true,
    value(this: T, ...args: Parameters<Extract<T[K], Method>>) {
      const result = original.apply(this, args) as ReturnType<Extract<T[K], Method>>;
      seen(this, result, ...args);
      return result;
    },
  });
}

export function countGpuCalls(): GpuCounter {
  const counts: GpuCounts = { dispatches: 0, submits: 0, passes: 0, createdBuffers: 0, readbacks: 0 };
  let liveBytes = 0;
  const living = new WeakMap<GPUBuffer, number>();
  watch(GPUDevice, 'createBuffer', (_, buffer, { size }) => {
    counts.createdBuffers++;
    liveBytes += size;
    living.set(buffer, size);
  });
  watch(GPUBuffer, 'destroy', (buffer) => {
    liveBytes -= living.get(buffer) ?? 0;
    living.delete(buffer);
  });
  watch(GPUBuffer, 'mapAsync', (_buffer, _mapped, mode) => {
    if (mode === GPUMapMode.READ) counts.readbacks++;
  });
  watch(GPUQueue, 'submit', () => counts.submits++);
  watch(GPUCommandEncoder, 'beginComputePass', () => counts.passes++);
  watch(GPUComputePassEncoder, 'dispatchWorkgroups', () => counts.dispatches++);
  watch(GPUComputePassEncoder, 'dispatchWorkgroupsIndirect', () => counts.dispatches++);
  return { counts: () => ({ ...counts }), liveBytes: () => liveBytes };
}

export function countsSince(now: GpuCounts, before: GpuCounts): GpuCounts {
  const entries = Object.entries(now).map(([key, value]) => [key, value - before[key as keyof GpuCounts]]);
  return Object.fromEntries(entries) as unknown as GpuCounts;
}
