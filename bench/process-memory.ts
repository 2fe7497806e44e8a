/** @file Memory of processes as Linux sees it, sampled from outside. */
import { readFile } from 'node:fs/promises';
import { setTimeout } from 'node:timers/promises';

/** Bytes of the memory that a process has in RAM, without files that it maps. */
async function residentBytes(pid: number): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8').catch(() => '');
  const kibibytes = (name: string): number =>
    Number(new RegExp(`^${name}:\\s+(\\d+)`, 'm').exec(status)?.[1] ?? 0);
  return (kibibytes('RssAnon') + kibibytes('RssShmem')) * 1024;
}

export interface Growth {
  name: string;
  startBytes: number;
  /** Most bytes above the start, and bytes above the start at the end. */
  peakBytes: number;
  finalBytes: number;
}

export interface MemoryWatch {
  end(): Promise<{ processes: Growth[]; all: Growth }>;
}

const INTERVAL_MS = 10;

/** Samples processes one by one and in sum until `end`. */
export async function watchMemory(processes: readonly { name: string; pid: number }[]): Promise<MemoryWatch> {
  const sample = (): Promise<number[]> => Promise.all(processes.map(({ pid }) => residentBytes(pid)));
  const total = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0);
  const start = await sample();
  const growth = (name: string, startBytes: number): Growth => ({
    name,
    startBytes,
    peakBytes: 0,
    finalBytes: 0,
  });
  const each = processes.map(({ name }, i) => growth(name, start[i]!));
  const all = growth('all', total(start));
  const note = (one: Growth, bytes: number): void => {
    one.finalBytes = bytes - one.startBytes;
    one.peakBytes = Math.max(one.peakBytes, one.finalBytes);
  };
  let isOver = false;
  const take = async (): Promise<void> => {
    const values = await sample();
    for (const [i, one] of each.entries()) note(one, values[i]!);
    note(all, total(values));
  };
  const sampling = (async () => {
    while (!isOver) {
      await take();
      await setTimeout(INTERVAL_MS);
    }
  })();
  return {
    async end() {
      isOver = true;
      await sampling;
      return { processes: each, all };
    },
  };
}
