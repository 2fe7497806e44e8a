/**
 * @file What runs next: sequences that run decode side by side, and take turns with chunks of their prompts. The loop here is where every
 * token comes from. It must not know kernels or text.
 */
import type { NumericalError } from '../../errors.ts';
import { BLOCK_LENGTH, SAMPLED_TOKEN } from '../../graph/batch.ts';
import { FEW_ROWS } from '../../graph/op-list.ts';
import { MAX_DRAFTS } from '../program/plans.ts';
import { Admission, type AdmissionOptions } from './admission.ts';
import { type Batch, type BatchSequence, rowsOf } from './batch.ts';
import { ChunkLength } from './chunk-length.ts';
import { createDepthGauge, singleStep } from './depth.ts';
import type { KvPool, Written } from './kv-pool.ts';
import { draftAfter, draftKnown } from './module-drafts.ts';
import type { ReadPart } from './read-chunk.ts';
import { CHUNKS_IN_FLIGHT, type Picked, type Runner } from './runner.ts';
import type { RowsRead, Sequence } from './sequence.ts';

export interface SchedulerOptions extends AdmissionOptions {
  capacity: number;
}

/** A pass that was submitted. */
interface Pass {
  readonly parts: readonly { sequence: Sequence; epoch: number; numDrafts: number }[];
  readonly batch: Batch;
  readonly isChunk: boolean;
  readonly picked: Promise<readonly (Picked | RowsRead | NumericalError)[] | undefined>;
  readonly submitted: number;
}

/** A sequence's rows of the next pass. */
interface Chosen {
  readonly sequence: Sequence;
  readonly part: BatchSequence;
  readonly numDrafts: number;
}

/** What happened, for tests and benchmarks. */
export interface SchedulerCounts {
  /** Passes by the number of sequences that they held. */
  bySequences: number[];
  /** Rows of sequences that need not wait for their tokens, by the passes of theirs that were in flight. */
  byDepth: number[];
  putBack: number;
  takenUp: number;
  chunks: number;
}

export class Scheduler {
  readonly #runner: Runner;
  readonly #pool: KvPool;
  readonly #options: SchedulerOptions;
  readonly #admission: Admission;
  readonly #inFlight: Pass[] = [];
  readonly #depth: ReturnType<typeof createDepthGauge>;
  readonly #chunks: ChunkLength;
  #isLooping = false;
  readonly #counts = { bySequences: [] as number[], byDepth: [] as number[], chunks: 0 };
  #failure: Error | undefined;

  constructor(runner: Runner, pool: KvPool, options: SchedulerOptions) {
    this.#runner = runner;
    this.#pool = pool;
    this.#options = options;
    this.#admission = new Admission(runner, pool, options, () => this.#drain());
    this.#depth = runner.maxDepth > 1 && options.speculate !== 'mtp' ? createDepthGauge() : singleStep;
    this.#chunks = new ChunkLength(options.prefillRows);
  }

  get counts(): SchedulerCounts {
    return { ...this.#admission.counts, ...this.#counts };
  }

  /** Sequences that run, and that wait. */
  get load(): { running: number; waiting: number } {
    return { running: this.#admission.running.length, waiting: this.#admission.waiting.length };
  }

  /** A sequence waits for its turn from now on. */
  add(sequence: Sequence): void {
    if (this.#failure) {
      sequence.fail(this.#failure);
      return;
    }
    this.#admission.enqueue(sequence);
    this.stir();
  }

  /** A sequence ends at once, wherever it stands. */
  abort(sequence: Sequence): void {
    if (sequence.phase === 'done') return;
    this.#admission.leave(sequence);
    sequence.finish('abort');
    this.stir();
  }

  /** All sequences end with an error, and all that come. */
  fail(error: Error): void {
    this.#failure ??= error;
    for (const sequence of [...this.#admission.waiting, ...this.#admission.running]) {
      this.#admission.leave(sequence);
      sequence.fail(error);
    }
  }

  /** Something may go on. */
  stir(): void {
    this.#admission.mayAdmit = true;
    if (this.#isLooping || this.#failure) return;
    this.#isLooping = true;
    void this.#loop();
  }

  async #loop(): Promise<void> {
    try {
      for (;;) {
        if (await this.#admission.admit()) this.#depth.begin();
        const isBusy = await this.#submit();
        // Whoever was put back made room for another.
        if (isBusy || (this.#inFlight.length === 0 && this.#admission.mayAdmit)) continue;
        if (this.#inFlight.length === 0) break;
        await this.#receive();
      }
    } catch (error) {
      await this.#breakOff(error);
    } finally {
      this.#isLooping = false;
    }
  }

  /** What was running is lost; whoever comes later may have more luck. */
  async #breakOff(error: unknown): Promise<void> {
    // What they were to be read into is free again once they are settled.
    await Promise.allSettled(this.#inFlight.splice(0).map(({ picked }) => picked));
    const lost = this.#admission.running.length > 0 ? this.#admission.running : this.#admission.waiting;
    for (const sequence of [...lost]) {
      this.#admission.leave(sequence, true);
      sequence.fail(error);
    }
    if (this.#admission.waiting.length > 0) setTimeout(() => this.stir(), 0);
  }

  // ---- What runs next

  /** The checkpoint's module drafts: it runs over what the last pass has left, so that passes come one by one. */
  get #drafts(): boolean {
    return this.#options.speculate === 'mtp';
  }

  /** Submits what can be: a pass of all that decode, and a chunk. False: nothing can, until something comes back. */
  async #submit(): Promise<boolean> {
    const hasRows = await this.#submitRows();
    const hasChunk = await this.#submitChunk();
    return hasRows || hasChunk;
  }

  async #submitRows(): Promise<boolean> {
    if (this.#drafts && this.#inFlight.length > 0) return false;
    if (this.#inFlight.filter(({ isChunk }) => !isChunk).length >= this.#depth.depth) return false;
    // Those whose tokens must be known step by step go in one pass, so that they stay together; others need not wait for them.
    const hasSteps = this.#inFlight.some(({ parts }) => parts.some(({ sequence }) => sequence.isStepwise));
    const ready = this.#admission.running.filter(
      (sequence) => this.#isReady(sequence) && !(hasSteps && sequence.isStepwise),
    );
    if (ready.length === 0) return false;
    const rows = this.#runner.rowsReady(Math.min(FEW_ROWS, this.#rowsWanted(ready)));
    const chosen = await this.#chooseRows(ready, rows);
    // Room for one may have put back another; and whoever cannot say what may come next ends.
    const running = chosen.filter(
      ({ sequence }) => sequence.phase === 'decoding' && this.#try(sequence, () => this.#tellMask(sequence)),
    );
    if (running.length === 0) return false;
    // Those for whom there was no row come first the next time.
    if (running.length < ready.length) for (const { sequence } of running) this.#rotate(sequence);
    const batch = running.map(({ part }) => part);
    for (const { sequence, part } of running)
      this.#admission.record(sequence, part.position, part.tokens.length, 'r');
    const name = this.#runner.programFor(rowsOf(batch));
    const picked = this.#runner.sample(
      name,
      batch,
      running.map(({ sequence }) => sequence.options.logprobs),
    );
    for (const { sequence } of running) {
      if (!sequence.isStepwise) countOne(this.#counts.byDepth, sequence.inFlight);
      sequence.inFlight++;
      sequence.numSampled++;
    }
    this.#enter({
      parts: running.map(({ sequence, numDrafts }) => ({ sequence, epoch: sequence.epoch, numDrafts })),
      batch,
      isChunk: false,
      picked,
    });
    return true;
  }

  /** Runs what may call back whoever asked. Where that fails, only this sequence ends, and false is given. */
  #try(sequence: Sequence, what: () => void): boolean {
    try {
      what();
      return true;
    } catch (error) {
      this.#admission.leave(sequence);
      sequence.fail(error);
      return false;
    }
  }

  #tellMask({ slot, options }: Sequence): void {
    if (options.mask) this.#runner.writeMask(slot!, options.mask());
  }

  /** Rows for sequences, and blocks for the rows: everybody has a row before anybody has a guess verified. */
  async #chooseRows(ready: readonly Sequence[], rows: number): Promise<Chosen[]> {
    const chosen: Chosen[] = [];
    let left = rows;
    for (const [i, sequence] of ready.entries()) {
      const others = Math.min(ready.length - i - 1, left - 1);
      if (left === 0) break;
      const part = this.#partOf(sequence, left - others);
      if (!(await this.#admission.makeRoom(sequence, part.position + part.tokens.length))) continue;
      if (!this.#isReady(sequence)) continue;
      chosen.push({ sequence, part, numDrafts: part.tokens.length - 1 });
      left -= part.tokens.length;
    }
    return chosen;
  }

  #rowsWanted(ready: readonly Sequence[]): number {
    const drafts = this.#options.speculate ? MAX_DRAFTS[this.#options.speculate] : 0;
    return ready.reduce((sum, { proposer }) => sum + (proposer ? 1 + drafts : 1), 0);
  }

  /** Whether a row of a sequence can be computed now. */
  #isReady(sequence: Sequence): boolean {
    if (sequence.phase !== 'decoding' || sequence.rests) return false;
    if (sequence.numSampled >= this.#mostTokens(sequence)) return false;
    if (sequence.computed >= this.#admission.mostPositions(sequence)) return false;
    return sequence.inFlight < (sequence.isStepwise ? 1 : this.#depth.depth);
  }

  /** Tokens of an answer: as many as were asked for, and fit the context. The last of them is in no cache. */
  #mostTokens({ options, numPrompt }: Sequence): number {
    return Math.min(options.maxTokens, this.#options.capacity - numPrompt + 1);
  }

  /** The next row of a sequence, and as many guesses as there are rows for. */
  #partOf(sequence: Sequence, most: number): BatchSequence {
    const { slot, computed: position, ids, proposer } = sequence;
    const token = position < ids.length ? ids[position]! : SAMPLED_TOKEN;
    // All guesses right and one token more may be as many as are left; so no row stands after the end of the context either.
    const left = Math.min(
      this.#mostTokens(sequence) - sequence.numSampled - 1,
      this.#admission.mostPositions(sequence) - position - 1,
    );
    const drafts = proposer?.propose(ids, Math.min(most - 1, left)) ?? [];
    return {
      slot: slot!,
      position,
      tokens: [token, ...drafts],
      length: Math.max(sequence.anglesLength, position + 1),
    };
  }

  /** The next chunk of a prompt, or of what was computed before: of whoever had none for longest. */
  async #submitChunk(): Promise<boolean> {
    const isAlone = !this.#admission.running.some(({ phase }) => phase === 'decoding');
    const numChunks = this.#inFlight.filter(({ isChunk }) => isChunk).length;
    if (numChunks >= (isAlone ? CHUNKS_IN_FLIGHT : 1)) return false;
    if (this.#drafts && this.#inFlight.length > 0) return false;
    const sequence = this.#admission.running.find(({ phase }) => phase === 'prefilling');
    if (!sequence) return false;
    const { ids, written, computed } = sequence;
    const isAgain = computed < written.length;
    const how: Written = isAgain ? written[computed]! : 'c';
    const end = isAgain ? endOfRun(written, computed) : sequence.promptEnd;
    const rows =
      how === 'r'
        ? this.#runner.rowsReady(Math.min(FEW_ROWS, end - computed))
        : this.#chunks.rowsFrom(computed, end, !isAlone);
    if (!(await this.#admission.makeRoom(sequence, computed + rows))) return false;
    if (sequence.phase !== 'prefilling') return true;
    this.#admission.mayAdmit = true;
    this.#counts.chunks++;
    if (sequence.options.reading && !isAgain) {
      await this.#readPrompts({ sequence, rows }, this.#chunks.length(!isAlone));
      return true;
    }
    const batch: BatchSequence[] = [
      {
        slot: sequence.slot!,
        position: computed,
        tokens: ids.slice(computed, computed + rows),
        length: Math.max(sequence.anglesLength, computed + 1),
      },
    ];
    this.#rotate(sequence);
    if (isAgain) this.#computeAgain(sequence, batch, how);
    else this.#computePrompt(sequence, batch);
    this.#pool.publish(sequence.table!, ids, written, sequence.known);
    return true;
  }

  /** What a sequence had before it was put back, by the same kind of pass. */
  #computeAgain(sequence: Sequence, batch: Batch, how: Written): void {
    const rows = rowsOf(batch);
    this.#admission.tell(sequence);
    this.#runner.compute(how === 'r' ? this.#runner.programFor(rows) : 'prefill', batch);
    sequence.computed += rows;
    if (this.#drafts) draftKnown(this.#runner, [sequence], batch, how);
    if (sequence.computed === sequence.written.length && sequence.computed >= sequence.promptEnd) {
      this.#goOnDecoding(sequence);
    }
    this.#enter({ parts: [], batch, isChunk: true, picked: this.#runner.ran() });
  }

  /** The next chunk of a prompt; the last one samples. */
  #computePrompt(sequence: Sequence, batch: Batch): void {
    const rows = rowsOf(batch);
    const { computed, promptBegin, promptEnd, options } = sequence;
    // Of all that is to be computed, however it is cut into chunks.
    const isOneRow = promptEnd - promptBegin === 1;
    this.#admission.record(sequence, computed, rows, isOneRow ? 'r' : 'c');
    const name = isOneRow ? this.#runner.programFor(1) : 'prefill';
    if (computed + rows < promptEnd) {
      this.#runner.compute(name, batch);
      if (this.#drafts) draftKnown(this.#runner, [sequence], batch, 'c');
      this.#enter({ parts: [], batch, isChunk: true, picked: this.#runner.ran() });
      return;
    }
    if (!this.#try(sequence, () => this.#tellMask(sequence))) return;
    const picked = this.#runner.sample(name, batch, [options.logprobs]);
    sequence.phase = 'decoding';
    sequence.inFlight++;
    sequence.numSampled++;
    const parts = [{ sequence, epoch: sequence.epoch, numDrafts: 0 }];
    this.#enter({ parts, batch, isChunk: true, picked });
  }

  /** The next chunk of a prompt of which rows are read, and of others like it. */
  async #readPrompts(first: ReadPart, mostRows: number): Promise<void> {
    const { partsOfChunk, submitChunk } = await import('./read-chunk.ts');
    const chosen = await partsOfChunk(this.#admission, first, mostRows);
    if (chosen.length === 0) return;
    const { batch, parts, picked } = submitChunk(this.#runner, this.#admission, chosen);
    const sequences = chosen.map(({ sequence }) => sequence);
    if (this.#drafts) draftKnown(this.#runner, sequences, batch, 'c');
    for (const { sequence } of parts) sequence.inFlight++;
    for (const sequence of sequences) {
      this.#rotate(sequence);
      this.#pool.publish(sequence.table!, sequence.ids, sequence.written, sequence.known);
    }
    this.#enter({
      parts: parts.map(({ sequence }) => ({ sequence, epoch: sequence.epoch, numDrafts: 0 })),
      batch,
      isChunk: true,
      picked,
    });
  }

  /** Was put back while it decoded, and has all again. */
  #goOnDecoding(sequence: Sequence): void {
    sequence.phase = 'decoding';
    this.#admission.tellSampler(sequence);
  }

  /** A sequence waits until all others had a turn. */
  #rotate(sequence: Sequence): void {
    this.#admission.running.splice(this.#admission.running.indexOf(sequence), 1);
    this.#admission.running.push(sequence);
  }

  #enter(pass: Omit<Pass, 'submitted'>): void {
    this.#inFlight.push({ ...pass, submitted: performance.now() });
    countOne(this.#counts.bySequences, pass.batch.length);
  }

  // ---- What comes back

  /** Until nothing is in flight. */
  async #drain(): Promise<void> {
    while (this.#inFlight.length > 0) await this.#receive();
  }

  async #receive(): Promise<void> {
    const pass = this.#inFlight.shift();
    if (!pass) return;
    const picked = await pass.picked;
    if (pass.isChunk && this.#inFlight.length === 0) {
      this.#chunks.measured(rowsOf(pass.batch), performance.now() - pass.submitted);
    }
    if (!picked) return;
    if (!pass.isChunk) this.#depth.step(performance.now());
    const isRead = pass.parts.some(({ sequence }) => sequence.options.reading);
    if (this.#drafts && !isRead) {
      draftAfter(this.#runner, pass, picked as readonly (Picked | NumericalError)[]);
      for (const { sequence, epoch } of pass.parts) sequence.hasDraft = sequence.epoch === epoch;
    }
    for (const [i, { sequence, epoch, numDrafts }] of pass.parts.entries()) {
      // It ended, was put back or went another way meanwhile.
      if (sequence.epoch !== epoch) continue;
      sequence.inFlight--;
      const found = picked[i]!;
      if ('tokens' in found) this.#try(sequence, () => this.#append(sequence, found, numDrafts, pass));
      else if ('values' in found) this.#take(sequence, found);
      else {
        this.#admission.leave(sequence, true);
        sequence.fail(found);
      }
    }
  }

  /** Rows of a prompt are read. */
  #take(sequence: Sequence, { values }: RowsRead): void {
    // One by one: a call takes only so many arguments.
    for (const value of values) sequence.values.push(value);
    if (sequence.values.length === sequence.options.reading!.rows.length) this.#end(sequence, 'stop');
  }

  /** Tokens are known. */
  #append(
    sequence: Sequence,
    { tokens, logprobs }: Picked,
    numDrafts: number,
    { isChunk, batch }: Pass,
  ): void {
    const { tally } = sequence;
    sequence.prefilled ??= performance.now();
    if (!isChunk) {
      tally.numSteps++;
      tally.draftTokens += numDrafts;
      tally.acceptedTokens += tokens.length - 1;
    }
    if (numDrafts > 0) {
      // The rows of wrong guesses are computed again.
      const { position } = batch.find(({ slot }) => slot === sequence.slot)!;
      sequence.computed = position + tokens.length;
      sequence.written.length = sequence.computed;
      sequence.numSampled += tokens.length - 1;
    }
    for (const [i, token] of tokens.entries()) {
      if (!sequence.append(token, logprobs?.[i])) {
        this.#stop(sequence);
        return;
      }
      if (sequence.phase === 'done') return;
    }
    if (sequence.numAnswered >= this.#mostTokens(sequence)) this.#end(sequence, 'length');
    else if (this.#admission.isOutgrown(sequence)) this.#admission.beginAnew(sequence);
    else if (sequence.known >= (sequence.table!.nodes.length + 1) * BLOCK_LENGTH) {
      this.#pool.publish(sequence.table!, sequence.ids, sequence.written, sequence.known);
    }
    // Somebody may wait for its place.
    if (sequence.rests) this.#admission.mayAdmit = true;
  }

  /** A token was not accepted: the answer ends, or goes on with ids that follow it all the same. */
  #stop(sequence: Sequence): void {
    const forced = sequence.options.force?.();
    if (sequence.phase === 'done') return;
    // The token that was not accepted counts as not computed, whatever is in flight after it.
    const length = sequence.ids.length - 1;
    sequence.computed = Math.min(sequence.computed, length);
    sequence.written.length = Math.min(sequence.written.length, length);
    if (!forced) {
      this.#end(sequence, 'stop');
      return;
    }
    const answered = sequence.numAnswered + forced.length;
    if (answered >= sequence.options.maxTokens || sequence.numPrompt + answered > this.#options.capacity) {
      this.#end(sequence, 'length');
      return;
    }
    for (const id of forced) sequence.append(id, undefined);
    if (sequence.phase === ('done' as Sequence['phase'])) return;
    if (this.#admission.isOutgrown(sequence)) {
      this.#admission.beginAnew(sequence);
      return;
    }
    sequence.epoch++;
    sequence.inFlight = 0;
    sequence.computed = this.#pool.rewind(sequence.table!, sequence.computed);
    sequence.told = sequence.told.map((told, g) => Math.min(told, sequence.table!.blocks[g]!.length));
    sequence.hasDraft = false;
    sequence.promptBegin = sequence.written.length;
    sequence.promptEnd = sequence.ids.length;
    sequence.numSampled = sequence.numAnswered;
    sequence.phase = 'prefilling';
    this.#admission.tellSampler(sequence);
  }

  #end(sequence: Sequence, reason: 'stop' | 'length'): void {
    this.#admission.leave(sequence);
    sequence.finish(reason);
  }
}

/** Where the positions end that were written like the one at `begin`. */
function endOfRun(written: readonly Written[], begin: number): number {
  let end = begin;
  while (end < written.length && written[end] === written[begin]) end++;
  return end;
}

function countOne(counts: number[], at: number): void {
  counts[at] = (counts[at] ?? 0) + 1;
}
