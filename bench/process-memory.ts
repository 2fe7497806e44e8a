/** @file Memory of processes as Linux sees it, sampled from outside. */
import { readFile } from 'node:fs/promises';
import { setTimeout } from 'node:timers/promises';

/** Memory that is a process's own, and its part of what it shares with others; without files that it maps. */
interface Memory {
  own: number;
  shared: number;
}

/** Nothing where there is no such process any more. */
async function memoryOf(pid: number): Promise<Memory> {
  const text = await readFile(`/proc/${pid}/smaps_rollup`, 'utf8').catch(() => '');
  const bytes = (name: string): number =>
    1024 * Number(new RegExp(`^${name}:\\s+(\\d+)`, 'm').exec(text)?.[1] ?? 0);
  return { own: bytes('Pss_Anon'), shared: bytes('Pss_Shmem') };
}

/** Bytes in RAM above the start. */
export interface Growth {
  name: string;
  startBytes: number;
  peakBytes: number;
  finalBytes: number;
  /** The most that the part of shared memory grew by. */
  sharedPeakBytes: number;
}

export interface MemoryWatch {
  end(): Promise<{ processes: Growth[]; all: Growth }>;
}

const INTERVAL_MS = 25;

/** Samples processes one by one and in sum until `end`. */
export async function watchMemory(processes: readonly { name: string; pid: number }[]): Promise<MemoryWatch> {
  const sample = async (): Promise<Memory[]> => {
    const each = await Promise.all(processes.map(({ pid }) => memoryOf(pid)));
    const total = (pick: (memory: Memory) => number): number => each.reduce((sum, one) => sum + pick(one), 0);
    return [...each, { own: total(({ own }) => own), shared: total(({ shared }) => shared) }];
  };
  const start = await sample();
  const growths = [...processes.map(({ name }) => name), 'all'].map(
    (name, i): Growth => ({
      name,
      startBytes: start[i]!.own + start[i]!.shared,
      peakBytes: 0,
      finalBytes: 0,
      sharedPeakBytes: 0,
    }),
  );
  let isOver = false;
  const sampling = (async () => {
    while (!isOver) {
      for (const [i, { own, shared }] of (await sample()).entries()) {
        const growth = growths[i]!;
        growth.finalBytes = own + shared - growth.startBytes;
        growth.peakBytes = Math.max(growth.peakBytes, growth.finalBytes);
        growth.sharedPeakBytes = Math.max(growth.sharedPeakBytes, shared - start[i]!.shared);
      }
      await setTimeout(INTERVAL_MS);
    }
  })();
  return {
    async end() {
      isOver = true;
      await sampling;
      return { processes: growths.slice(0, -1), all: growths.at(-1)! };
    },
  };
}
