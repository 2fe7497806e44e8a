/**
 * @file A batch: the rows of one forward pass, and the words that the GPU reads of it. One writer fills the table that all plans have
 * as their input, for everyone who runs programs. It must not know sequences, sampling or text.
 */
import type { BatchCounts } from '../../gpu/kernel.ts';
import {
  type BatchLayout,
  blocksOf,
  ROW_HEAD,
  rowWords,
  SEQUENCE_WORDS,
  sequencesBegin,
  slotWords,
  tablesBegin,
} from '../../graph/batch.ts';
import { type RopeScaling, ropeAngles } from '../../graph/rope.ts';

/** Neighbouring positions of one sequence. */
export interface BatchSequence {
  /** Which of the running sequences it is, on the GPU. */
  readonly slot: number;
  /** Of its first row. */
  readonly position: number;
  /** An id for each row, or SAMPLED_TOKEN, DRAFTED_TOKEN. */
  readonly tokens: readonly number[];
  /** Tokens that the whole sequence has, where rotary angles depend on that. */
  readonly length: number;
  /** Rows that count for its last one, where the others are only there because the pass before had them. Default: all. */
  readonly counted?: number;
}

export type Batch = readonly BatchSequence[];

export const rowsOf = (batch: Batch): number => batch.reduce((sum, { tokens }) => sum + tokens.length, 0);

export function countsOf(batch: Batch, workgroups: number): BatchCounts {
  let [rows, rounds, context] = [0, 0, 0];
  for (const { tokens, position } of batch) {
    rows += tokens.length;
    rounds = Math.max(rounds, tokens.length);
    context = Math.max(context, position + tokens.length);
  }
  return { rows, sequences: batch.length, rounds, context, workgroups };
}

/** Writes words of the table, from one on. */
type WriteWords = (words: Uint32Array<ArrayBuffer>, firstWord: number) => void;

/** Fills the table of the batch, the one input of all plans. */
export class BatchWriter {
  readonly #layout: BatchLayout;
  readonly #rope: RopeScaling;
  readonly #write: WriteWords;
  readonly #rows: Uint32Array<ArrayBuffer>;
  readonly #angles: Float32Array<ArrayBuffer>;
  readonly #sequences: Uint32Array<ArrayBuffer>;
  /** The words of sequences that stand in the table. */
  #written = '';

  constructor(layout: BatchLayout, rope: RopeScaling, write: WriteWords) {
    this.#layout = layout;
    this.#rope = rope;
    this.#write = write;
    this.#rows = new Uint32Array(rowWords(layout) * layout.rows);
    this.#angles = new Float32Array(this.#rows.buffer);
    this.#sequences = new Uint32Array(SEQUENCE_WORDS * layout.slots);
  }

  /** Writes all of a batch but block tables. */
  write(batch: Batch): void {
    const width = rowWords(this.#layout);
    let row = 0;
    batch.forEach(({ slot, position, tokens, length, counted = tokens.length }, index) => {
      this.#sequences.set([row, counted, slot, 0], SEQUENCE_WORDS * index);
      const angles = ropeAngles(this.#rope, position, tokens.length, length);
      const { dim } = this.#rope;
      for (const [i, token] of tokens.entries()) {
        const begin = width * row++;
        this.#rows[begin] = position + i;
        this.#rows[begin + 1] = slot;
        this.#rows[begin + 2] = token;
        if (this.#layout.rotated > 0) {
          this.#angles.set(angles.subarray(i * dim, (i + 1) * dim), begin + ROW_HEAD);
        }
      }
    });
    this.#write(this.#rows.subarray(0, width * row), 0);
    // One sequence that decodes has the same words in every pass.
    const sequences = this.#sequences.subarray(0, SEQUENCE_WORDS * batch.length);
    const key = sequences.join();
    if (key === this.#written) return;
    this.#written = key;
    this.#write(sequences, sequencesBegin(this.#layout));
  }

  /** Block tables of a slot: of a group the blocks from `first` on. */
  writeTable(slot: number, group: number, first: number, blocks: readonly number[]): void {
    const begin = tablesBegin(this.#layout) + slot * slotWords(this.#layout) + group * blocksOf(this.#layout);
    this.#write(Uint32Array.from(blocks), begin + first);
  }
}
