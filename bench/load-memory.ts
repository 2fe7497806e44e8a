/** @file One load seen twice: by its own report and from outside; and whether both keep the bounds and agree. */
import { setTimeout } from 'node:timers/promises';
import type { LoadReport, WantedFormat } from '../src/index.ts';
import type { Place } from './load-place.ts';
import { type Growth, watchMemory } from './process-memory.ts';

const MIB = 2 ** 20;
const HEAP_BOUND = 128 * MIB;
const GPU_BOUND = 64 * MIB;
/**
 * What a process takes beside heap and GPU buffers: network buffers of several processes, pages that an allocator keeps
 * when they are free, code that is compiled when it is first run.
 */
const MARGIN = 128 * MIB;

export interface MemoryFigure {
  place: string;
  format: string;
  report: LoadReport;
  /** From the start of the load until the weights were on the GPU. */
  outside: { processes: Growth[]; all: Growth; heapPeakBytes: number | undefined };
  isWithin: boolean;
}

export async function measureMemory(
  place: Place,
  url: string,
  firstFile: string,
  format: string,
  weights: WantedFormat | undefined,
): Promise<MemoryFigure> {
  // A plain fetch first: allocators keep pages that are free (some 200 MiB in Chromium, whatever the size of the files), which
  // would count for the load otherwise.
  await place.discard({ kind: 'discard', urls: [firstFile] });
  await place.collectGarbage();
  // What was freed goes back to the system a little later.
  await setTimeout(1000);
  await place.collectGarbage();
  const heap = await watchHeap(place);
  const memory = await watchMemory(await place.processes());
  let stopped: Promise<{ processes: Growth[]; all: Growth }> | undefined;
  const stop = (): void => {
    stopped ??= memory.end();
    heap.end();
  };
  const report = await place.load({ kind: 'load', url, weights }, stop);
  stop();
  const { processes, all } = await stopped!;
  const outside = { processes, all, heapPeakBytes: heap.peakBytes() };
  return { place: place.name, format, report, outside, isWithin: print(place, format, report, outside) };
}

/** Samples the heap as the debugger sees it, where there is one. */
async function watchHeap(place: Place): Promise<{ peakBytes(): number | undefined; end(): void }> {
  const start = await place.heapBytes?.();
  let peak = start;
  let isOver = false;
  const sample = async (): Promise<void> => {
    while (!isOver && peak !== undefined) {
      peak = Math.max(peak, await place.heapBytes!());
      await setTimeout(20);
    }
  };
  // A page that ends meanwhile makes the load itself fail.
  sample().catch(() => undefined);
  return {
    peakBytes: () => (peak === undefined ? undefined : peak - start!),
    end() {
      isOver = true;
    },
  };
}

function print(
  place: Place,
  format: string,
  report: LoadReport,
  { processes, all, heapPeakBytes }: MemoryFigure['outside'],
): boolean {
  const mebibytes = (bytes: number | undefined): string =>
    bytes === undefined ? 'unknown' : `${(bytes / MIB).toFixed(0)} MiB`;
  const reportedHeap = report.heapPeakBytes ?? 0;
  const overFinal = report.gpuPeakBytes - report.gpuFinalBytes;
  const outsideOverFinal = all.peakBytes - report.gpuFinalBytes;
  const reportedOverFinal = reportedHeap + overFinal;
  const checks: [what: string, isMet: boolean][] = [
    [`heap at most ${mebibytes(HEAP_BOUND)} above its start`, reportedHeap <= HEAP_BOUND],
    [`GPU at most ${mebibytes(GPU_BOUND)} above its final weights`, overFinal <= GPU_BOUND],
    [`the debugger's heap too`, (heapPeakBytes ?? 0) <= HEAP_BOUND],
    [
      `processes at most both bounds and ${mebibytes(MARGIN)} above the weights`,
      outsideOverFinal <= HEAP_BOUND + GPU_BOUND + MARGIN,
    ],
    [
      `report and outside within ${mebibytes(MARGIN)}`,
      Math.abs(outsideOverFinal - reportedOverFinal) <= MARGIN,
    ],
  ];
  console.log(`${place.name}, loaded as ${format}: ${(report.bytesRead / 2 ** 30).toFixed(2)} GiB read,`);
  console.log(`  ${report.seconds.toFixed(1)} s, ${report.megabytesPerSecond.toFixed(0)} MB/s`);
  console.log(
    `  reported: heap ${mebibytes(report.heapPeakBytes)} above its start; GPU ${mebibytes(report.gpuPeakBytes)} at most, ` +
      `${mebibytes(report.gpuFinalBytes)} final: ${mebibytes(overFinal)} above`,
  );
  console.log(
    `  outside: RAM grew by ${mebibytes(all.peakBytes)} at most: ${mebibytes(outsideOverFinal)} above the weights ` +
      `(reported: heap + GPU above = ${mebibytes(reportedOverFinal)}); heap of the debugger ${mebibytes(heapPeakBytes)}`,
  );
  for (const { name, startBytes, peakBytes, finalBytes, sharedPeakBytes } of processes) {
    if (peakBytes < MIB) continue;
    console.log(
      `    ${name}: from ${mebibytes(startBytes)}, +${mebibytes(peakBytes)} at most, +${mebibytes(finalBytes)} at the end; shared +${mebibytes(sharedPeakBytes)} at most`,
    );
  }
  for (const [what, isMet] of checks) console.log(`  ${isMet ? 'met   ' : 'MISSED'} ${what}`);
  return checks.every(([, isMet]) => isMet);
}
