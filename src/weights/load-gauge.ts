/**
 * @file Measures what streaming weights to the GPU takes: seconds, bytes, and the memory at its highest. It must not know
 * where the bytes come from or go.
 */
import type { BufferPool } from '../gpu/buffers.ts';

/** What loading the weights took. */
export interface LoadReport {
  /** From the first request for weights until the GPU had the last of them; without configs and compiling. */
  seconds: number;
  /** Bytes of tensors that were read. */
  bytesRead: number;
  /** Millions of bytes read a second. */
  megabytesPerSecond: number;
  /**
   * The most JavaScript heap in use above what was in use when loading began, array buffers and garbage that was not
   * collected yet included. Undefined where the browser does not tell (only Node and Chromium do). Chromium rounds the
   * figure and renews it rarely, unless it runs with `--enable-precise-memory-info`.
   */
  heapPeakBytes: number | undefined;
  /** The most bytes of GPU buffers, and of writes that the GPU had not done yet. */
  gpuPeakBytes: number;
  /** Bytes of GPU buffers when all weights were there. */
  gpuFinalBytes: number;
}

export interface LoadGauge {
  /** Looks at the memory now; `bytesInFlight` were handed to the GPU's queue and may not be done. */
  sample(bytesInFlight: number): void;
  report(bytesRead: number): LoadReport;
}

export function createLoadGauge({ memory }: BufferPool): LoadGauge {
  const begin = performance.now();
  const heapAtStart = heapBytes();
  let heapPeakBytes = heapAtStart === undefined ? undefined : 0;
  let gpuPeakBytes = 0;
  const sample = (bytesInFlight: number): void => {
    if (heapAtStart !== undefined) heapPeakBytes = Math.max(heapPeakBytes!, heapBytes()! - heapAtStart);
    gpuPeakBytes = Math.max(gpuPeakBytes, memory.bytes + bytesInFlight);
  };
  return {
    sample,
    report(bytesRead) {
      sample(0);
      const seconds = (performance.now() - begin) / 1000;
      return {
        seconds,
        bytesRead,
        megabytesPerSecond: bytesRead / 1e6 / seconds,
        heapPeakBytes,
        gpuPeakBytes,
        gpuFinalBytes: memory.bytes,
      };
    },
  };
}

/** Heap in use with array buffers, which both count as external memory. */
function heapBytes(): number | undefined {
  if (typeof process !== 'undefined' && process.memoryUsage) {
    const { heapUsed, external } = process.memoryUsage();
    return heapUsed + external;
  }
  const { memory } = performance as { memory?: { usedJSHeapSize: number } };
  return memory?.usedJSHeapSize;
}
