/**
 * @file The comparison itself: checks that contenders compute the same, lets them take turns, and makes ratios. It must not know where
 * they run. CPU time is what it counts, for that holds on busy machines and software adapters, where all work is CPU time; on a real
 * GPU the wall's time tells.
 */
import { seededRandom } from '../../test/seeded-random.ts';
import { type Config, SHAPES, type ShapeName } from '../speed/shapes.ts';
import type { ContenderInfo, ContenderName } from './contender.ts';
import type { GpuCounts } from './gpu-counts.ts';
import type { Measured, Place } from './place.ts';

export interface PeersOptions {
  shapes: readonly ShapeName[];
  /** Lengths of prompts. */
  contexts: readonly number[];
  /** Decoded tokens of a run. */
  tokens: number;
  runs: number;
  peers: readonly ContenderName[];
}

/** Of all runs. */
export interface Spread {
  min: number;
  median: number;
  max: number;
}

export interface ContenderSpeed {
  contender: ContenderName;
  /** Milliseconds per token. */
  prefill: { cpu: Spread; wall: Spread };
  decode: { cpu: Spread; wall: Spread };
  /** How many times the milliseconds per token that shaderloom took in the same turn. */
  ratio: { prefill: { cpu: Spread; wall: Spread }; decode: { cpu: Spread; wall: Spread } };
  /** WebGPU calls of a decoded token, and of a whole prefill; where they are seen. */
  gpu?: {
    perToken: GpuCounts;
    perPrefill: GpuCounts;
    /** Of buffers behind the last run, without weights and KV cache. */
    bytesAbove: number;
  };
  /** Tokens of all answers that are the same as shaderloom's, from the first on. */
  sameTokens: number;
}

export interface LogitsCheck {
  contender: ContenderName;
  prompt: number;
  maxError: number;
  /** Of shaderloom's logits. */
  deviation: number;
}

export interface ShapeComparison {
  shape: ShapeName;
  contenders: (ContenderInfo & { contender: ContenderName })[];
  /** Peers that do not run here, and why. */
  failures: { contender: ContenderName; message: string }[];
  logits: LogitsCheck[];
  prompts: { prompt: number; speeds: ContenderSpeed[] }[];
}

export interface PeersResult {
  adapter: { description: string; architecture: string };
  environment: string;
  date: string;
  options: PeersOptions;
  shapes: ShapeComparison[];
}

const OWN = 'shaderloom';
const CHECKED_PROMPTS = [8, 32, 128];
/** Enough rows that kernels for many are compiled. */
const WARM_UP_ROWS = 128;
/** In deviations of the logits. Contenders compute in float16 and with activations of 8 bits; what is wrong is off by several. */
const MAX_ERROR = 0.1;

export async function comparePeers(
  options: PeersOptions,
  startPlace: () => Promise<Place>,
  onLine: (line: string) => void,
): Promise<PeersResult> {
  const shapes: ShapeComparison[] = [];
  let described: Awaited<ReturnType<Place['describe']>> | undefined;
  for (const shape of options.shapes) {
    const place = await startPlace();
    try {
      described ??= await place.describe();
      shapes.push(await compareShape(shape, options, place, onLine));
    } finally {
      await place.close();
    }
  }
  const { adapter = '', architecture = '', environment = '' } = described ?? {};
  return {
    adapter: { description: adapter, architecture },
    environment,
    date: new Date().toISOString(),
    options,
    shapes,
  };
}

async function compareShape(
  shape: ShapeName,
  options: PeersOptions,
  place: Place,
  onLine: (line: string) => void,
): Promise<ShapeComparison> {
  const config: Config = SHAPES[shape];
  const random = seededRandom(1);
  const promptOf = (length: number): number[] =>
    Array.from({ length }, () => Math.floor(random() * (config.vocab_size as number)));
  const contextLength = Math.max(WARM_UP_ROWS, ...CHECKED_PROMPTS, ...options.contexts) + options.tokens + 2;
  const contenders: ShapeComparison['contenders'] = [];
  const failures: ShapeComparison['failures'] = [];
  for (const name of [OWN, ...options.peers] as const) {
    const began = performance.now();
    try {
      const info = await place.start(name, { config, contextLength });
      await place.prefill(name, promptOf(WARM_UP_ROWS));
      await place.decode(name, 2);
      contenders.push({ contender: name, ...info });
      const seconds = (performance.now() - began) / 1000;
      onLine(`${shape}: ${name} ready in ${seconds.toFixed(1)} s (${info.notes})`);
    } catch (error) {
      if (name === OWN) throw error;
      const { message } = error as Error;
      failures.push({ contender: name, message });
      onLine(`${shape}: ${name} does not run here: ${message}`);
    }
  }
  const names = contenders.map(({ contender }) => contender);
  const peers = names.slice(1);
  const logits: LogitsCheck[] = [];
  for (const length of CHECKED_PROMPTS) {
    const check = await checkLogits(place, peers, promptOf(length));
    logits.push(...check);
    for (const { contender, maxError, deviation } of check)
      onLine(
        `${shape}: logits of ${contender} behind ${length} tokens differ by ${maxError.toFixed(4)} at most, where their deviation is ${deviation.toFixed(3)}${maxError > MAX_ERROR * deviation ? ': WRONG, its speed means nothing' : ''}`,
      );
  }
  const prompts: ShapeComparison['prompts'] = [];
  for (const prompt of options.contexts) {
    const turns: Record<string, Turn[]> = Object.fromEntries(names.map((name) => [name, []]));
    for (let run = 0; run < options.runs; run++) {
      const ids = promptOf(prompt);
      for (const name of names)
        turns[name]!.push({
          prefill: await place.prefill(name, ids),
          decode: await place.decode(name, options.tokens),
        });
    }
    const speeds = contenders.map((info) => speedOf(info, turns[info.contender]!, turns[OWN]!, prompt));
    prompts.push({ prompt, speeds });
    for (const line of speedLines(shape, prompt, speeds)) onLine(line);
  }
  return { shape, contenders, failures, logits, prompts };
}

async function checkLogits(
  place: Place,
  peers: readonly ContenderName[],
  ids: readonly number[],
): Promise<LogitsCheck[]> {
  const own = (await place.logits(OWN, ids))!;
  const mean = own.reduce((sum, x) => sum + x, 0) / own.length;
  const deviation = Math.sqrt(own.reduce((sum, x) => sum + (x - mean) ** 2, 0) / own.length);
  const checks: LogitsCheck[] = [];
  for (const contender of peers) {
    const theirs = await place.logits(contender, ids);
    if (!theirs) continue;
    const maxError = own.reduce((most, x, i) => Math.max(most, Math.abs(x - theirs[i]!)), 0);
    checks.push({ contender, prompt: ids.length, maxError, deviation });
  }
  return checks;
}

interface Turn {
  prefill: Measured;
  decode: Measured;
}

function spread(values: readonly number[]): Spread {
  const sorted = values.toSorted((a, b) => a - b);
  const [below, above] = [sorted[(sorted.length - 1) >> 1]!, sorted[sorted.length >> 1]!];
  return { min: sorted[0]!, median: (below + above) / 2, max: sorted.at(-1)! };
}

function speedOf(
  { contender, weightBytes, kvBytes, isCounted }: ShapeComparison['contenders'][number],
  turns: readonly Turn[],
  own: readonly Turn[],
  prompt: number,
): ContenderSpeed {
  const timesOf = (part: keyof Turn, key: 'cpuMilliseconds' | 'milliseconds') => {
    const tokens = part === 'prefill' ? prompt : turns[0]!.decode.tokens.length;
    return {
      each: spread(turns.map((turn) => turn[part][key] / tokens)),
      ratio: spread(turns.map((turn, i) => turn[part][key] / own[i]![part][key])),
    };
  };
  const both = (part: keyof Turn) => {
    const [cpu, wall] = [timesOf(part, 'cpuMilliseconds'), timesOf(part, 'milliseconds')];
    return {
      each: { cpu: cpu.each, wall: wall.each },
      ratio: { cpu: cpu.ratio, wall: wall.ratio },
    };
  };
  const [prefill, decode] = [both('prefill'), both('decode')];
  const last = turns.at(-1)!;
  const perToken = Object.fromEntries(
    Object.entries(last.decode.counts).map(([key, n]) => [key, n / last.decode.tokens.length]),
  ) as unknown as GpuCounts;
  const sameTokens = turns.reduce((sum, turn, i) => {
    const [theirs, ours] = [turn, own[i]!].map((t) => [...t.prefill.tokens, ...t.decode.tokens]);
    const first = theirs!.findIndex((id, at) => id !== ours![at]);
    return sum + (first < 0 ? theirs!.length : first);
  }, 0);
  return {
    contender,
    prefill: prefill.each,
    decode: decode.each,
    ratio: { prefill: prefill.ratio, decode: decode.ratio },
    ...(isCounted && {
      gpu: {
        perToken,
        perPrefill: last.prefill.counts,
        bytesAbove: last.decode.liveBytes - weightBytes - kvBytes,
      },
    }),
    sameTokens,
  };
}

export const spreadText = ({ min, median, max }: Spread, digits: number): string =>
  `${median.toFixed(digits)} (${min.toFixed(digits)} to ${max.toFixed(digits)})`;

function speedLines(shape: string, prompt: number, speeds: readonly ContenderSpeed[]): string[] {
  return speeds.flatMap((s) => {
    const ratio = (part: 'prefill' | 'decode', kind: 'cpu' | 'wall'): string =>
      s.contender === OWN ? '' : `, ${spreadText(s.ratio[part][kind], 2)} times ours`;
    return [
      `${shape}, ${prompt} tokens, ${s.contender}: ${s.sameTokens} tokens as ours`,
      ...(['prefill', 'decode'] as const).map(
        (part) =>
          `  ${part} per token: CPU ${spreadText(s[part].cpu, 1)} ms${ratio(part, 'cpu')}; wall ${spreadText(s[part].wall, 1)} ms${ratio(part, 'wall')}`,
      ),
      ...(s.gpu ? [countsLine(s.gpu)] : []),
    ];
  });
}

function countsLine({ perToken: n, bytesAbove }: NonNullable<ContenderSpeed['gpu']>): string {
  const count = (value: number, what: string): string => `${Number(value.toFixed(1))} ${what}`;
  return `  a decoded token: ${count(n.dispatches, 'dispatches')}, ${count(n.submits, 'submits')}, ${count(n.passes, 'passes')}, ${count(n.createdBuffers, 'new buffers')}, ${count(n.readbacks, 'readbacks')}; ${(bytesAbove / 2 ** 20).toFixed(1)} MiB above weights and KV`;
}
