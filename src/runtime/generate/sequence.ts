/**
 * @file A sequence: a prompt and what is answered to it, how much of it is computed, and how its tokens reach whoever asked. Host data
 * only: it must not know passes, blocks of others, buffers or text.
 */
import type { SamplingParams } from '../../../kernels/sample/layout.ts';
import type { ReadingName } from '../program/reading-plans.ts';
import type { IdLogprob } from '../types.ts';
import type { BlockTable, Written } from './kv-pool.ts';
import type { Proposer } from './speculate.ts';

/** What the model thought of a token that was sampled. */
export interface Logprob {
  readonly logprob: number;
  /** The likeliest tokens, the likeliest first. */
  readonly top: readonly IdLogprob[];
}

/** A row of a prompt of which something is read. */
export interface WantedRow {
  readonly position: number;
  /** Whose probability after the row's own is asked; of no matter for `hidden`. */
  readonly token: number;
}

/** What is read of a prompt instead of sampling after it. */
export interface Reading {
  readonly name: ReadingName;
  /** In the order of their positions, at least one. */
  readonly rows: readonly WantedRow[];
  /** Of the likeliest tokens so many, with `likeliest`. */
  readonly numTop: number;
}

/** Of a token: the logarithm of its probability, and its place among all, from 1. */
export interface RowLogprob extends Logprob {
  readonly rank: number;
}

/** What a row says: of a token, or the final norm. */
export type RowValue = RowLogprob | Float32Array;

/** What rows of a chunk say, in the order in which they were wanted. */
export interface RowsRead {
  readonly values: readonly RowValue[];
}

export interface TokenOptions {
  sampling: SamplingParams;
  logitBias?: Readonly<Record<number, number>> | undefined;
  /** How many of the last prompt ids belong to the answer: the penalties count them so. Default 0. */
  numAnswered?: number | undefined;
  maxTokens: number;
  /** Asked before each token which ones may come, bits in the order of the vocabulary; undefined: every token. */
  mask?: (() => Uint32Array | undefined) | undefined;
  /** Tell the logprob of every token, with so many of the likeliest. */
  logprobs?: number | undefined;
  /** Asked about every token; false ends the generation with it. The logprob is there with `logprobs`. */
  accept: (id: number, logprob: Logprob | undefined) => boolean;
  /**
   * Asked where a token was not accepted: ids that follow it all the same, after which the answer goes on; undefined: it ends.
   */
  force?: (() => readonly number[] | undefined) | undefined;
  /** Only sequences with the same salt take up what others have computed. */
  salt?: string | undefined;
  /** How the first positions are to be computed, as the `written` of a result: a sequence that is restored gives the same bits again. */
  written?: string | undefined;
  /** Nothing is sampled: this is read of the prompt. */
  reading?: Reading | undefined;
  signal?: AbortSignal | undefined;
}

export interface TokenResult {
  finishReason: 'stop' | 'length' | 'abort';
  cachedTokens: number;
  /** Guessed tokens that passes verified, and those of them that are in the answer. */
  draftTokens: number;
  acceptedTokens: number;
  /** Forward passes after the prefill whose tokens were taken. */
  numSteps: number;
  /** What computed each position: `c` a chunk of a prompt, `r` a pass of few rows. Their rounding differs. */
  written: string;
  /** Milliseconds. */
  prefillTime: number;
  decodeTime: number;
}

/**
 * Where a sequence stands. `waiting`: for a slot and for blocks, as a new one or as one that was put back; `reading`: its prompt is computed,
 * and what is read of it is on its way.
 */
export type Phase = 'waiting' | 'prefilling' | 'decoding' | 'reading' | 'done';

/** Tokens that may wait for whoever asked: one that nobody takes holds up its own sequence only. */
const MAX_UNTAKEN = 16;

export class Sequence {
  /** In the order of arrival: the youngest has the highest. */
  readonly number: number;
  readonly options: TokenOptions;
  /** The prompt and all tokens that are known. */
  readonly ids: number[];
  readonly numPrompt: number;
  readonly tally = { numSteps: 0, draftTokens: 0, acceptedTokens: 0, cachedTokens: 0 };
  phase: Phase = 'waiting';
  /** What computes each position, and how: recorded as passes are submitted. */
  readonly written: Written[] = [];
  /** Positions whose keys and values are in the cache once what was submitted has run. */
  computed = 0;
  /** What is computed as a prompt, in chunks: what it was given beyond what it took up, or what was forced. */
  promptBegin = 0;
  promptEnd: number;
  /**
   * Tokens that it had when it was first computed, or computed anew: while it has no more, rotary angles are those of so long a
   * sequence at all its positions.
   */
  anglesLength: number;
  /** Passes in flight that sample for it. */
  inFlight = 0;
  /** Tokens of the answer that are known, or that a submitted pass will sample. */
  numSampled = 0;
  hasDraft = false;
  /** What was read, in the order in which it was wanted. */
  readonly values: RowValue[] = [];
  slot: number | undefined;
  table: BlockTable | undefined;
  proposer: Proposer | undefined;
  /** Blocks of its table that the GPU was told, by group. */
  told: number[] = [];
  /** When it first ran, and when its first token was known. */
  began: number | undefined;
  prefilled: number | undefined;
  /** A pass remembers the epoch it was submitted in. Putting back, the end and forced ids raise it; results of an older epoch are dropped. */
  epoch = 0;

  readonly #untaken: number[] = [];
  #end: TokenResult | undefined;
  #error: unknown;
  #wake: (() => void) | undefined;

  constructor(number: number, ids: readonly number[], options: TokenOptions) {
    this.number = number;
    this.options = options;
    this.ids = [...ids];
    this.numPrompt = ids.length;
    this.promptEnd = ids.length;
    this.anglesLength = ids.length;
    for (const how of options.written ?? '') this.written.push(how as Written);
    this.promptBegin = this.written.length;
  }

  /**
   * Positions that are computed from ids which the host knows: later ones were computed from tokens that only the GPU knows. Nothing
   * else may be found by others.
   */
  get known(): number {
    return Math.min(this.computed, this.ids.length);
  }

  /** Positions that it may take up from others at most: of the rows after them something is wanted, be it only that the last samples. */
  get mayTakeUp(): number {
    return this.options.reading?.rows[0]?.position ?? this.ids.length - 1;
  }

  /** Tokens of the answer that are known. */
  get numAnswered(): number {
    return this.ids.length - this.numPrompt;
  }

  /** Whether whoever asked is so far behind that it rests. */
  get rests(): boolean {
    return this.#untaken.length >= MAX_UNTAKEN;
  }

  /** Its next token must be known before more is computed. */
  get isStepwise(): boolean {
    return this.options.mask !== undefined || this.proposer !== undefined;
  }

  /** A token is known: tells whoever asked. False: it was not accepted. */
  append(id: number, logprob: Logprob | undefined): boolean {
    this.ids.push(id);
    const isAccepted = this.options.accept(id, logprob);
    this.#untaken.push(id);
    this.#stir();
    return isAccepted;
  }

  finish(finishReason: TokenResult['finishReason']): void {
    if (this.#end || this.#error) return;
    this.phase = 'done';
    const now = performance.now();
    const { began = now, prefilled = began } = this;
    const times = { prefillTime: prefilled - began, decodeTime: now - prefilled };
    this.#end = { finishReason, ...this.tally, ...times, written: this.written.join('') };
    this.#stir();
  }

  fail(error: unknown): void {
    if (this.#end || this.#error) return;
    this.phase = 'done';
    this.#error = error;
    this.#stir();
  }

  #stir(): void {
    this.#wake?.();
    this.#wake = undefined;
  }

  /** Tokens as they are known. `onTake`: a token was taken. */
  async *tokens(onTake: () => void): AsyncGenerator<number, TokenResult> {
    for (;;) {
      while (this.#untaken.length > 0) {
        // Nothing more is told once it was aborted.
        if (this.#end?.finishReason === 'abort') return this.#end;
        const wasResting = this.rests;
        const id = this.#untaken.shift()!;
        if (wasResting) onTake();
        yield id;
      }
      if (this.#error) throw this.#error;
      if (this.#end) return this.#end;
      await new Promise<void>((wake) => {
        this.#wake = wake;
      });
    }
  }
}
