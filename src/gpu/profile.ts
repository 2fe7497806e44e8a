/**
 * @file GPU time per dispatch through timestamp queries: a table by label, and a track in the browser's DevTools. Costs a
 * compute pass for every dispatch, so it is on only when asked for. Knows labels, no ops.
 */
import type { GpuContext } from './device.ts';

export interface ProfileRow {
  label: string;
  count: number;
  milliseconds: number;
}

export interface Profiler {
  /** Timestamp writes for the passes of one submit; `read` after the submit adds them to the table. */
  begin(labels: readonly string[]): {
    writes(index: number): GPUComputePassTimestampWrites;
    resolve(encoder: GPUCommandEncoder): void;
    read(): Promise<void>;
  };
  /** By label, the longest first. */
  table(): ProfileRow[];
}

/** Undefined where the device has no timestamps. */
export function createProfiler({ device, buffers, hasTimestamps }: GpuContext): Profiler | undefined {
  if (!hasTimestamps) return undefined;
  const rows = new Map<string, ProfileRow>();
  return {
    begin(labels) {
      const count = labels.length * 2;
      const querySet = device.createQuerySet({ type: 'timestamp', count });
      const resolved = device.createBuffer({
        size: count * 8,
        usage: GPUBufferUsage.QUERY_RESOLVE | GPUBufferUsage.COPY_SRC,
      });
      const staging = buffers.readback('timestamps', count * 8);
      const submitted = performance.now();
      return {
        writes: (i) => ({ querySet, beginningOfPassWriteIndex: 2 * i, endOfPassWriteIndex: 2 * i + 1 }),
        resolve(encoder) {
          encoder.resolveQuerySet(querySet, 0, count, resolved, 0);
          encoder.copyBufferToBuffer(resolved, 0, staging, 0, count * 8);
        },
        async read() {
          try {
            await staging.mapAsync(GPUMapMode.READ);
            const times = new BigUint64Array(staging.getMappedRange(0, count * 8));
            let at = submitted;
            labels.forEach((label, i) => {
              const milliseconds = Number(times[2 * i + 1]! - times[2 * i]!) / 1e6;
              const row = rows.get(label) ?? { label, count: 0, milliseconds: 0 };
              rows.set(label, { label, count: row.count + 1, milliseconds: row.milliseconds + milliseconds });
              at = track(label, at, milliseconds);
            });
          } finally {
            buffers.destroy(staging);
            resolved.destroy();
            querySet.destroy();
          }
        },
      };
    },
    table: () => [...rows.values()].sort((a, b) => b.milliseconds - a.milliseconds),
  };
}

/** GPU clocks have no common zero with the page's: the track shows durations one after another from the submit on. */
function track(label: string, start: number, duration: number): number {
  const end = start + Math.max(0, duration);
  performance.measure(label, {
    start,
    end,
    detail: { devtools: { dataType: 'track-entry', track: 'GPU', trackGroup: 'shaderloom' } },
  });
  return end;
}
