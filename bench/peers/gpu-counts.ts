/**
 * @file Counts what any library does with WebGPU, by wrapping the methods of its classes: the same counter for all contenders. It sees
 * the realm that it is installed in, and devices that are asked for afterwards; not other workers.
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
  /** From now on, buffers are `name`'s. */
  own(name: string): void;
  /** Bytes of buffers that were created for `name` and not destroyed. */
  liveBytes(name: string): number;
}

type Method = (...args: never[]) => unknown;
type MethodOf<T, K extends keyof T> = Extract<T[K], Method>;

/** Calls `seen` with object, result and arguments of each call of a method. */
function watch<T extends object, K extends keyof T & string>(
  { prototype }: { prototype: T },
  name: K,
  seen: (self: T, result: ReturnType<MethodOf<T, K>>, ...args: Parameters<MethodOf<T, K>>) => void,
): void {
  const original = prototype[name] as Method;
  Object.defineProperty(prototype, name, {
    configurable: true,
    writable: true,
    value(this: T, ...args: Parameters<MethodOf<T, K>>) {
      const result = original.apply(this, args) as ReturnType<MethodOf<T, K>>;
      seen(this, result, ...args);
      return result;
    },
  });
}

export function countGpuCalls(): GpuCounter {
  const counts: GpuCounts = { dispatches: 0, submits: 0, passes: 0, createdBuffers: 0, readbacks: 0 };
  let owner = '';
  const liveBytes = new Map<string, number>();
  const living = new WeakMap<GPUBuffer, { owner: string; size: number }>();
  const grow = (name: string, bytes: number): void => {
    liveBytes.set(name, (liveBytes.get(name) ?? 0) + bytes);
  };
  watch(GPUDevice, 'createBuffer', (_, buffer, { size }) => {
    counts.createdBuffers++;
    living.set(buffer, { owner, size });
    grow(owner, size);
  });
  watch(GPUBuffer, 'destroy', (buffer) => {
    const alive = living.get(buffer);
    if (alive) grow(alive.owner, -alive.size);
    living.delete(buffer);
  });
  watch(GPUBuffer, 'mapAsync', (_buffer, _mapped, mode) => {
    if (mode === GPUMapMode.READ) counts.readbacks++;
  });
  watch(GPUQueue, 'submit', () => counts.submits++);
  watch(GPUCommandEncoder, 'beginComputePass', () => counts.passes++);
  watch(GPUComputePassEncoder, 'dispatchWorkgroups', () => counts.dispatches++);
  watch(GPUComputePassEncoder, 'dispatchWorkgroupsIndirect', () => counts.dispatches++);
  return {
    counts: () => ({ ...counts }),
    own(name) {
      owner = name;
    },
    liveBytes: (name) => liveBytes.get(name) ?? 0,
  };
}

export function countsSince(now: GpuCounts, before: GpuCounts): GpuCounts {
  const entries = Object.entries(now).map(([key, value]) => [key, value - before[key as keyof GpuCounts]]);
  return Object.fromEntries(entries) as unknown as GpuCounts;
}
