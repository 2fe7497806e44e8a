/**
 * @file Who runs: sequences wait in the order in which they came, begin where the pool has what they need, and are put back, the
 * youngest first, where it has no more. Here a sequence gets its slot and its blocks and gives them back. It must not know what a pass
 * computes.
 */
import { DeviceLimitError } from '../../errors.ts';
import { BLOCK_LENGTH } from '../../graph/batch.ts';
import type { Speculation } from '../types.ts';
import type { BlockTable, Found, KvPool, Written } from './kv-pool.ts';
import type { Runner } from './runner.ts';
import type { Sequence } from './sequence.ts';
import { createProposer } from './speculate.ts';

export interface AdmissionOptions {
  maxSequences: number;
  prefillRows: number;
  speculate?: Speculation | undefined;
  /** Number of layer groups. */
  groups: number;
  /** A sequence of more tokens has other angles at all its positions. */
  anglesChangeBeyond: number;
}

/** Blocks that the pool begins with, and the least share of what there is that it grows by. */
export const FIRST_BLOCKS = 4;
const GROWTH = 1.5;

export class Admission {
  readonly counts = { putBack: 0, takenUp: 0 };
  readonly waiting: Sequence[] = [];
  /** In slots; the first is the next whose prompt gets a chunk. */
  readonly running: Sequence[] = [];
  readonly slots: (Sequence | undefined)[];
  /** Somebody came or left, or there is more to take up: admission is to be tried. */
  mayAdmit = false;
  readonly #runner: Runner;
  readonly #pool: KvPool;
  readonly #options: AdmissionOptions;
  readonly #drain: () => Promise<void>;

  /** @param drain resolves when nothing is in flight: what was sampled must be known before a sequence is put back */
  constructor(runner: Runner, pool: KvPool, options: AdmissionOptions, drain: () => Promise<void>) {
    this.#runner = runner;
    this.#pool = pool;
    this.#options = options;
    this.#drain = drain;
    this.slots = new Array(options.maxSequences).fill(undefined);
  }

  /** Whoever was put back is older than what came since. */
  enqueue(sequence: Sequence): void {
    const at = this.waiting.findIndex(({ number }) => number > sequence.number);
    this.waiting.splice(at < 0 ? this.waiting.length : at, 0, sequence);
    this.mayAdmit = true;
  }

  /** Lets those begin for whom there is a slot, and blocks for all that is to be computed first. Whether one has. */
  async admit(): Promise<boolean> {
    if (!this.mayAdmit) return false;
    this.mayAdmit = false;
    let hasBegun = false;
    for (const sequence of [...this.waiting]) {
      // Whoever takes no tokens waits until it does.
      if (sequence.rests) continue;
      await this.#replaceResting(sequence);
      const slot = this.slots.indexOf(undefined);
      if (slot < 0) break;
      if (sequence.phase !== 'waiting') continue;
      const found = this.#find(sequence);
      if (this.#hasMoreSoon(sequence, found)) continue;
      if (!(await this.#hasRoom(sequence, found))) break;
      if (!(await this.#hasSlot(slot))) break;
      const copies = !this.#find(sequence).partial || (await this.#canCopy());
      // It may have been aborted meanwhile.
      if (sequence.phase === 'waiting') {
        this.#begin(sequence, slot, copies);
        hasBegun = true;
      }
    }
    return hasBegun;
  }

  /** Where there is no slot or no room for somebody, sequences whose tokens nobody takes give theirs. */
  async #replaceResting(sequence: Sequence): Promise<void> {
    const resting = this.running.filter(({ rests }) => rests);
    if (
      resting.length === 0 ||
      (this.slots.includes(undefined) && this.#fits(sequence, this.#find(sequence)))
    )
      return;
    await this.#drain();
    for (const other of resting) if (other.rests && this.running.includes(other)) this.#putBack(other);
  }

  /** Another is computing more of the same prompt than there is now: it is better to wait. */
  #hasMoreSoon(sequence: Sequence, found: Found): boolean {
    if (sequence.written.length > 0 || this.running.length === 0 || !this.#pool.isShared) return false;
    const salt = sequence.options.salt ?? '';
    return this.running.some((other) => {
      if (other.phase !== 'prefilling' || other.table!.isPrivate) return false;
      if ((other.options.salt ?? '') !== salt || this.#isLong(other) !== this.#isLong(sequence)) return false;
      const common = Math.min(commonPrefix(other.ids, sequence.ids), other.promptEnd, sequence.mayTakeUp);
      return common > found.length && common > other.computed;
    });
  }

  #isLong({ anglesLength }: Sequence): boolean {
    return anglesLength > this.#options.anglesChangeBeyond;
  }

  /** Positions that may be computed after each other: beyond them all have other angles. */
  mostPositions(sequence: Sequence): number {
    return this.#isLong(sequence) ? Number.POSITIVE_INFINITY : this.#options.anglesChangeBeyond;
  }

  /** It has grown beyond what can be computed after what it has. */
  isOutgrown(sequence: Sequence): boolean {
    return sequence.ids.length > this.mostPositions(sequence);
  }

  /** @param limit positions at most */
  #find(sequence: Sequence, limit = Number.POSITIVE_INFINITY): Found {
    const { root } = this.#pool.newTable(sequence.options.salt, this.#isLong(sequence));
    // Who was put back takes only what was written as its own was.
    const before = sequence.written.length > 0 ? sequence.written.join('') : undefined;
    const most = before === undefined ? sequence.mayTakeUp : before.length;
    return this.#pool.find(sequence.ids, Math.min(most, limit), root, before);
  }

  /** Blocks of a group that a sequence needs to begin, beyond those that it takes up. */
  #needed(sequence: Sequence, found: Found, group: number): { needed: number; idle: number } {
    const length = Math.max(sequence.ids.length, sequence.written.length) + 1;
    const needed =
      this.#pool.blocksFor(group, length, this.#options.prefillRows) - this.#pool.takenOf(found, group);
    return { needed: Math.max(0, needed), idle: this.#pool.idleOf(found, group) };
  }

  /** Whether there are, or can be, blocks for a sequence beside those who run; where nobody runs there always are. */
  #fits(sequence: Sequence, found: Found): boolean {
    if (this.running.length === 0) return true;
    for (let group = 0; group < this.#options.groups; group++) {
      const { needed, idle } = this.#needed(sequence, found, group);
      // What is taken up cannot be given away; and who begins should not have to be put back at once.
      if (this.#pool.available(group) - idle - this.#owed(group) - 1 < needed) return false;
    }
    return true;
  }

  /** Blocks of a group that those who run have yet to get for their prompts. */
  #owed(group: number): number {
    return this.running.reduce((sum, { phase, table, promptEnd, written }) => {
      if (phase !== 'prefilling') return sum;
      const length = Math.max(promptEnd, written.length) + 1;
      const held = table!.blocks[group]!.filter((block) => block !== undefined).length;
      return sum + Math.max(0, this.#pool.blocksFor(group, length, this.#options.prefillRows) - held);
    }, 0);
  }

  async #hasRoom(sequence: Sequence, found: Found): Promise<boolean> {
    if (!this.#fits(sequence, found)) return false;
    for (let group = 0; group < this.#options.groups; group++) {
      const { needed } = this.#needed(sequence, found, group);
      // Blocks are made before idle ones are given away; where there can be no more, idle ones do.
      await this.#growTo(group, needed + this.#pool.usage[group]!.idle);
    }
    return true;
  }

  /** Makes blocks until so many can be had, if there may be so many. */
  async #growTo(group: number, wanted: number): Promise<boolean> {
    const { capacity, used, limit } = this.#pool.usage[group]!;
    const needed = Math.min(limit, used + wanted);
    if (needed <= capacity) return used + wanted <= capacity;
    const blocks = Math.min(limit, Math.max(needed, FIRST_BLOCKS, Math.ceil(GROWTH * capacity)));
    try {
      await this.#runner.growBlocks(group, blocks);
    } catch (error) {
      if (capacity === 0) throw error;
      // The pool stays as it is; sequences wait for each other.
      this.#pool.stopGrowing();
      return false;
    }
    this.#pool.grown(group, blocks);
    return used + wanted <= blocks;
  }

  async #hasSlot(slot: number): Promise<boolean> {
    try {
      await this.#runner.growSlots(slot + 1);
      return true;
    } catch (error) {
      if (slot === 0) throw error;
      return false;
    }
  }

  async #canCopy(): Promise<boolean> {
    try {
      await this.#runner.prepareCopies();
      return true;
    } catch {
      return false;
    }
  }

  /** @param mayCopy whether it may take up a part of a block */
  #begin(sequence: Sequence, slot: number, mayCopy: boolean): void {
    let found = this.#find(sequence);
    const table = this.#pool.newTable(sequence.options.salt, this.#isLong(sequence));
    let copies = mayCopy || !found.partial ? this.#pool.take(table, found) : undefined;
    if (!copies) {
      // No block for a copy: whole blocks need none.
      found = this.#find(sequence, BLOCK_LENGTH * found.nodes.length);
      copies = this.#pool.take(table, found);
    }
    this.#runner.copyBlocks(copies ?? []);
    this.waiting.splice(this.waiting.indexOf(sequence), 1);
    // Its first chunk comes next, however many prompts are under way.
    this.running.unshift(sequence);
    this.slots[slot] = sequence;
    const isNew = sequence.began === undefined;
    sequence.began ??= performance.now();
    sequence.slot = slot;
    sequence.table = table;
    sequence.told = table.blocks.map(() => 0);
    sequence.computed = found.length;
    sequence.hasDraft = false;
    if (sequence.written.length === 0) {
      for (const how of found.written) sequence.written.push(how as Written);
      sequence.promptBegin = found.length;
    }
    const isComplete = found.length === sequence.written.length && found.length >= sequence.promptEnd;
    sequence.phase = isComplete ? 'decoding' : 'prefilling';
    if (isNew) {
      sequence.tally.cachedTokens = found.length;
      const { speculate } = this.#options;
      // What a mask allows after a guess is known only when the guess is.
      if (speculate && !sequence.options.mask && !sequence.options.reading) {
        sequence.proposer = createProposer(speculate, () => sequence.hasDraft);
      }
    }
    if (found.length > 0) this.counts.takenUp++;
    this.tellSampler(sequence);
  }

  tellSampler(sequence: Sequence): void {
    const { sampling, logitBias = {}, mask, numAnswered = 0, reading } = sequence.options;
    if (reading) return;
    this.#runner.writeSampling(sequence.slot!, sequence.ids, {
      sampling,
      bias: logitBias,
      hasMask: mask !== undefined,
      numAnswered: numAnswered + sequence.numAnswered,
    });
  }

  /** Takes a sequence out, and gives back what it has. What it computed may still be found, unless it is to be forgotten. */
  leave(sequence: Sequence, forgets = false): void {
    const at = this.waiting.indexOf(sequence);
    if (at >= 0) this.waiting.splice(at, 1);
    sequence.epoch++;
    this.mayAdmit = true;
    const { table, slot } = sequence;
    if (!table || slot === undefined) return;
    if (forgets) {
      this.#pool.forget(table);
    } else {
      this.#pool.publish(table, sequence.ids, sequence.written, sequence.known);
      this.#pool.release(table);
    }
    this.running.splice(this.running.indexOf(sequence), 1);
    this.slots[slot] = undefined;
    sequence.table = undefined;
    sequence.slot = undefined;
    sequence.inFlight = 0;
  }

  /**
   * Takes a running sequence off its slot and its blocks, and lets it wait again. Nothing of it may be in flight. `written` stays: it says
   * by which kinds of passes to compute the positions again.
   */
  #putBack(sequence: Sequence): void {
    this.leave(sequence);
    sequence.phase = 'waiting';
    sequence.computed = 0;
    sequence.numSampled = sequence.numAnswered;
    this.counts.putBack++;
    this.enqueue(sequence);
  }

  /** Computes a sequence anew from its first token, by the angles of one as long as it is now. What is in flight of it is dropped. */
  beginAnew(sequence: Sequence): void {
    this.#putBack(sequence);
    sequence.written.length = 0;
    sequence.anglesLength = sequence.promptEnd = sequence.ids.length;
  }

  /** Tells the GPU of blocks that a table has since. */
  tell(sequence: Sequence): void {
    sequence.table!.blocks.forEach((blocks, group) => {
      this.#runner.writeTable(
        sequence.slot!,
        group,
        sequence.told[group]!,
        blocks.slice(sequence.told[group]!),
      );
      sequence.told[group] = blocks.length;
    });
  }

  /**
   * Blocks for a sequence of so many positions: free ones, new ones, or those of the youngest. False: it runs no more, since it was the
   * youngest itself, or has ended meanwhile.
   */
  async makeRoom(sequence: Sequence, length: number): Promise<boolean> {
    for (;;) {
      if (!sequence.table) return false;
      this.#pool.leaveWindows(sequence.table, sequence.computed);
      if (this.#pool.extend(sequence.table, length)) return true;
      if (await this.#growFor(sequence.table, length)) continue;
      // What is in flight for a sequence must be known before it can be put back.
      await this.#drain();
      if (!sequence.table) return false;
      if (this.#pool.extend(sequence.table, length)) return true;
      if (this.running.length === 1) {
        this.leave(sequence);
        sequence.fail(noRoom(length));
        return false;
      }
      this.#putBack(this.running.reduce((a, b) => (b.number > a.number ? b : a)));
    }
  }

  /** Blocks for a sequence of so many positions, where there are free ones or can be new ones: whether it has them. */
  async findRoom(sequence: Sequence, length: number): Promise<boolean> {
    const { table, computed } = sequence;
    if (!table) return false;
    this.#pool.leaveWindows(table, computed);
    if (this.#pool.extend(table, length)) return true;
    return (
      (await this.#growFor(table, length)) && sequence.table === table && this.#pool.extend(table, length)
    );
  }

  /** Makes blocks where a table lacks some and none is free; whether there are more now. */
  async #growFor({ blocks }: BlockTable, length: number): Promise<boolean> {
    let isGrown = false;
    for (let group = 0; group < this.#options.groups; group++) {
      const { capacity, used, idle, limit } = this.#pool.usage[group]!;
      const lacks = blocks[group]!.length * BLOCK_LENGTH < length;
      if (!lacks || capacity >= limit || capacity > used + idle) continue;
      isGrown = (await this.#growTo(group, capacity - used + 1)) || isGrown;
    }
    return isGrown;
  }

  /** Positions are computed by the pass that comes next. */
  record(sequence: Sequence, position: number, rows: number, how: Written): void {
    sequence.written.length = position;
    for (let i = 0; i < rows; i++) sequence.written.push(how);
    sequence.computed = position + rows;
    this.tell(sequence);
  }
}

/** A sequence has all the blocks that there is memory for, and needs another. */
const noRoom = (positions: number): DeviceLimitError =>
  new DeviceLimitError(
    `The GPU has no memory for the KV cache of ${positions} tokens. Close what else uses it, or load the model with kvFormat: 'int8' or smaller weights.`,
  );

function commonPrefix(a: readonly number[], b: readonly number[]): number {
  let n = 0;
  while (n < a.length && n < b.length && a[n] === b[n]) n++;
  return n;
}
