/** @file Random requests of token ids, and their answers by a session: for tests of what runs side by side. */
import type { SamplingParams } from '../../kernels/sample/layout.ts';
import type { Session, TokenResult } from '../../src/runtime/generate/session.ts';

export interface Request {
  readonly ids: readonly number[];
  readonly sampling: SamplingParams;
  readonly logitBias?: Readonly<Record<number, number>>;
  readonly maxTokens: number;
  /** Tokens that end the answer. */
  readonly stop: ReadonlySet<number>;
  /** Ids that follow, once, where the answer has so many tokens. */
  readonly force?: { readonly after: number; readonly ids: readonly number[] };
  /** Only every so many ids may come, from one that depends on the tokens so far. */
  readonly mask?: number | undefined;
  /** With so many of the likeliest tokens. */
  readonly logprobs?: number;
  readonly salt?: string;
}

export interface Outcome {
  readonly tokens: readonly number[];
  /** The numbers of each token, as text. */
  readonly logprobs: readonly string[];
  readonly result: TokenResult;
}

const VOCAB = 1024;

/** Prompts that often begin alike, and often repeat themselves. */
export function randomRequests(random: () => number, count: number): Request[] {
  const below = (n: number): number => Math.floor(random() * n);
  const words = (length: number): number[] => Array.from({ length }, () => 20 + below(900));
  const beginnings = Array.from({ length: 5 }, () => words(10 + below(80)));
  return Array.from({ length: count }, (): Request => {
    const own = words(1 + below(24));
    const repeated = random() < 0.4 ? [...own, ...own.slice(0, 1 + below(own.length))] : own;
    const beginning = random() < 0.6 ? beginnings[below(beginnings.length)]! : [];
    const ids = [...beginning, ...repeated].slice(0, 150);
    const isGreedy = random() < 0.5;
    const hasPenalties = random() < 0.3;
    return {
      ids,
      sampling: {
        temperature: isGreedy ? 0 : 0.3 + random(),
        topK: random() < 0.3 ? 1 + below(40) : 0,
        topP: random() < 0.3 ? 0.5 + random() / 2 : 1,
        minP: random() < 0.2 ? 0.05 : 0,
        repetitionPenalty: hasPenalties ? 1 + random() / 2 : 1,
        presencePenalty: hasPenalties ? random() : 0,
        frequencyPenalty: hasPenalties ? random() : 0,
        seed: below(2 ** 40),
      },
      ...(random() < 0.2 && { logitBias: { [20 + below(900)]: 5, [20 + below(900)]: -5 } }),
      maxTokens: 8 + below(56),
      stop: new Set(random() < 0.3 ? words(60) : []),
      ...(random() < 0.15 && { force: { after: 2 + below(6), ids: words(1 + below(8)) } }),
      ...(random() < 0.2 && { mask: 2 + below(6) }),
      ...(random() < 0.1 && { logprobs: 20 }),
    };
  });
}

function maskOf(every: number, numTokens: number): Uint32Array {
  const bits = new Uint32Array(VOCAB / 32);
  for (let id = numTokens % every; id < 1000; id += every) bits[id >> 5]! |= 1 << (id & 31);
  return bits;
}

/** Answers a request. `abortAfter` so many tokens, or (0) when `hasBegun`. */
export async function answerOf(
  session: Session,
  request: Request,
  {
    onToken,
    abortAfter,
    hasBegun,
    written,
  }: {
    onToken?: () => void;
    abortAfter?: number | undefined;
    hasBegun?: () => boolean;
    written?: string;
  } = {},
): Promise<Outcome> {
  const { ids, sampling, logitBias, maxTokens, stop, force, mask, logprobs: numTop, salt } = request;
  const known: number[] = [];
  const logprobs: string[] = [];
  let isForced = false;
  const controller = new AbortController();
  if (abortAfter === 0) void abortWhen(controller, hasBegun!);
  const generation = session.generate(ids, {
    sampling,
    logitBias,
    maxTokens,
    logprobs: numTop,
    salt,
    written,
    mask: mask === undefined ? undefined : () => maskOf(mask, known.length),
    accept(id, logprob) {
      known.push(id);
      if (logprob) logprobs.push(JSON.stringify(logprob));
      if (force && !isForced && known.length === force.after) return false;
      return !stop.has(id);
    },
    force() {
      if (!force || isForced || known.length !== force.after) return undefined;
      isForced = true;
      return force.ids;
    },
    signal: controller.signal,
  });
  const tokens: number[] = [];
  for (;;) {
    const next = await generation.next();
    if (next.done) {
      controller.abort();
      return { tokens, logprobs, result: next.value };
    }
    tokens.push(next.value);
    onToken?.();
    if (abortAfter && tokens.length === abortAfter) controller.abort();
  }
}

async function abortWhen(controller: AbortController, holds: () => boolean): Promise<void> {
  while (!controller.signal.aborted) {
    await new Promise((resolve) => setTimeout(resolve, 0));
    if (holds()) controller.abort();
  }
}
