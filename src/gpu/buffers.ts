/**
 * @file Every GPUBuffer of the library is made and destroyed here, so that memory is counted and released on every path;
 * the ring through which results come back, and the probe of how much there is. Knows nothing of what is in a buffer.
 */
import { DeviceLimitError } from '../errors.ts';

export interface BufferPool {
  readonly device: GPUDevice;
  /** Bytes and number of live buffers, and the highest bytes so far. */
  readonly memory: { bytes: number; buffers: number; peakBytes: number };
  /** A storage buffer that can be copied from and to, and hold the grid of an indirect dispatch; sizes are rounded up to 16 bytes. */
  storage(label: string, bytes: number): GPUBuffer;
  uniform(label: string, bytes: number): GPUBuffer;
  /** A buffer the host maps for reading. */
  readback(label: string, bytes: number): GPUBuffer;
  destroy(buffer: GPUBuffer): void;
  destroyAll(): void;
}

/** Bytes that the pool allocates for so many wanted. */
export const bufferSize = (bytes: number): number => Math.max(16, Math.ceil(bytes / 16) * 16);

/** Node defines the flags only when it has a GPU. */
const storageUsage = (): GPUBufferUsageFlags =>
  GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_DST | GPUBufferUsage.COPY_SRC | GPUBufferUsage.INDIRECT;

export function createBufferPool(device: GPUDevice): BufferPool {
  const live = new Set<GPUBuffer>();
  const memory = { bytes: 0, buffers: 0, peakBytes: 0 };
  const create = (label: string, bytes: number, usage: GPUBufferUsageFlags): GPUBuffer => {
    const size = bufferSize(bytes);
    if (size > device.limits.maxBufferSize) {
      throw new DeviceLimitError(
        `${label} needs a buffer of ${size} bytes, the device allows ${device.limits.maxBufferSize}; use a shorter context or a smaller model`,
      );
    }
    const buffer = device.createBuffer({ label, size, usage });
    live.add(buffer);
    memory.buffers++;
    memory.bytes += size;
    memory.peakBytes = Math.max(memory.peakBytes, memory.bytes);
    return buffer;
  };
  const destroy = (buffer: GPUBuffer): void => {
    if (!live.delete(buffer)) return;
    memory.buffers--;
    memory.bytes -= buffer.size;
    buffer.destroy();
  };
  return {
    device,
    memory,
    storage: (label, bytes) => create(label, bytes, storageUsage()),
    uniform: (label, bytes) => create(label, bytes, GPUBufferUsage.UNIFORM | GPUBufferUsage.COPY_DST),
    readback: (label, bytes) => create(label, bytes, GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST),
    destroy,
    destroyAll: () => [...live].forEach(destroy),
  };
}

/** Copies a buffer to the host. For tests, dumps and rare reads; the hot path uses a ring. */
export async function readBuffer(
  pool: BufferPool,
  source: GPUBuffer,
  offset = 0,
  bytes = source.size,
): Promise<ArrayBuffer> {
  const staging = pool.readback('read', bytes);
  try {
    const encoder = pool.device.createCommandEncoder();
    encoder.copyBufferToBuffer(source, offset, staging, 0, bytes);
    pool.device.queue.submit([encoder.finish()]);
    await staging.mapAsync(GPUMapMode.READ, 0, bytes);
    return staging.getMappedRange(0, bytes).slice(0);
  } finally {
    pool.destroy(staging);
  }
}

/** A few staging buffers used in turn: `copy` into the next one while encoding, `read` after the submit. */
export interface ReadbackRing {
  /**
   * Encodes the copy, of all bytes unless told; the returned function, called after submit, resolves to the words. At most
   * `depth` may be unread.
   */
  copy(encoder: GPUCommandEncoder, source: GPUBuffer, numBytes?: number): () => Promise<Uint32Array>;
  dispose(): void;
}

export function createReadbackRing(pool: BufferPool, bytes: number, depth: number): ReadbackRing {
  const all = Array.from({ length: depth }, (_, i) => pool.readback(`readback ${i}`, bytes));
  const free = [...all];
  return {
    dispose: () => all.forEach(pool.destroy),
    copy(encoder, source, numBytes = bytes) {
      const staging = free.pop();
      if (!staging) throw new RangeError(`more than ${depth} readbacks are waiting`);
      encoder.copyBufferToBuffer(source, 0, staging, 0, numBytes);
      return async () => {
        try {
          await staging.mapAsync(GPUMapMode.READ, 0, numBytes);
          const words = new Uint32Array(staging.getMappedRange(0, numBytes).slice(0));
          staging.unmap();
          return words;
        } finally {
          // One that could not be mapped serves the next copy all the same.
          free.push(staging);
        }
      };
    },
  };
}

/** Runs allocations in one go and tells if the device ran out of memory. @throws DeviceLimitError */
export async function allocate<T>(device: GPUDevice, what: string, make: () => T): Promise<T> {
  device.pushErrorScope('out-of-memory');
  let made: T;
  let error: Promise<GPUError | null>;
  try {
    made = make();
  } finally {
    error = device.popErrorScope();
  }
  if (await error) {
    throw new DeviceLimitError(
      `The GPU has no memory left for ${what}: ${(await error)?.message}. Use a shorter context, a smaller model, or close other tabs.`,
    );
  }
  return made;
}

/** A storage buffer, or nothing: one that the device refuses is given back. @throws DeviceLimitError */
export async function allocateStorage(
  pool: BufferPool,
  label: string,
  bytes: number,
  what: string,
): Promise<GPUBuffer> {
  let made: GPUBuffer | undefined;
  try {
    return await allocate(pool.device, what, () => {
      made = pool.storage(label, bytes);
      return made;
    });
  } catch (error) {
    if (made) pool.destroy(made);
    throw error;
  }
}

/** Pieces that `probeMemory` asks for: few for a large model, and small enough to find out well where memory ends. */
const PROBE_BYTES = 256 << 20;
const LEAST_PROBE_BYTES = 1 << 20;

/**
 * Asks the device for so much memory, piece by piece, gives all of it back, and tells how much it got. Nothing is written. Less
 * than wanted means that it is not there now. All of it means only that nobody refused: drivers may promise memory that they
 * then take from the computer's own (slow), or from nowhere.
 */
export async function probeMemory(device: GPUDevice, bytes: number, signal?: AbortSignal): Promise<number> {
  const pieces: GPUBuffer[] = [];
  let given = 0;
  let most = Math.min(PROBE_BYTES, device.limits.maxBufferSize);
  try {
    while (given < bytes && most >= LEAST_PROBE_BYTES) {
      signal?.throwIfAborted();
      const size = bufferSize(Math.min(most, bytes - given));
      device.pushErrorScope('out-of-memory');
      pieces.push(device.createBuffer({ label: 'probe', size, usage: storageUsage() }));
      if (await device.popErrorScope()) most = Math.floor(size / 2);
      else given += size;
    }
    return Math.min(given, bytes);
  } finally {
    for (const piece of pieces) piece.destroy();
  }
}
