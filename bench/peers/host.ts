/** @file Runs contenders here, in this process or page, and tells what each part took. */
import type { Contender, ContenderHost, ContenderName, ContenderOptions, Part } from './contender.ts';
import { countGpuCalls, countsSince } from './gpu-counts.ts';

export type Starters = Readonly<Record<ContenderName, (options: ContenderOptions) => Promise<Contender>>>;

/** WebGPU's classes must be there. */
export function hostContenders(starters: Starters): ContenderHost {
  const counter = countGpuCalls();
  const running = new Map<ContenderName, Contender>();

  async function measure(name: ContenderName, run: (it: Contender) => Promise<number[]>): Promise<Part> {
    counter.own(name);
    const before = counter.counts();
    const began = performance.now();
    const tokens = await run(running.get(name)!);
    return {
      milliseconds: performance.now() - began,
      tokens,
      counts: countsSince(counter.counts(), before),
      liveBytes: counter.liveBytes(name),
    };
  }

  return {
    async start(name, options) {
      counter.own(name);
      const contender = await starters[name](options);
      running.set(name, contender);
      const { notes, weightBytes, kvBytes, isCounted } = contender;
      return { notes, weightBytes, kvBytes, isCounted };
    },
    prefill: (name, ids) => measure(name, async (it) => [await it.prefill(ids)]),
    decode: (name, count) => measure(name, (it) => it.decode(count)),
    async logits(name, ids) {
      counter.own(name);
      const logits = await running.get(name)!.logits?.(ids);
      return logits && [...logits];
    },
  };
}
