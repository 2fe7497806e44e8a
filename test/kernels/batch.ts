/**
 * @file The batch of a problem: which sequences have which rows, the table that tells the kernels, and the blocks of the pool that
 * hold what they cached. Blocks are drawn at random, the pool has more of them than anybody needs, and what nobody may read is poison.
 */
import type { BatchCounts } from '../../src/gpu/kernel.ts';
import {
  type BatchLayout,
  BLOCK_LENGTH,
  batchWords,
  blocksOf,
  rowWords,
  SEQUENCE_WORDS,
  sequencesBegin,
  slotWords,
  tablesBegin,
} from '../../src/graph/batch.ts';

/** A quiet NaN that no kernel computes by itself. */
export const POISON = 0x7fc00bad;
/** A block that there is none of. */
const NO_BLOCK = 0xffff_ffff;
/** Blocks that belong to nobody. */
const SPARE_BLOCKS = 3;

/** Neighbouring positions of a sequence. */
export interface SequenceRows {
  readonly rows: number;
  /** Of the first of them. */
  readonly position: number;
  readonly slot: number;
  /** Of each row; poison where left out. */
  readonly tokens?: readonly number[];
}

/** One sequence, in a slot that is not the first. */
export interface OneSequence {
  readonly rows: number;
  readonly position?: number;
  readonly tokens?: readonly number[];
  readonly workgroups?: number;
}

export interface Sequences {
  /** Their rows stand one after another. */
  readonly sequences: readonly SequenceRows[];
  readonly workgroups?: number;
}

export type Batch = OneSequence | Sequences;

export const sequencesOf = (batch: Batch): readonly SequenceRows[] =>
  'sequences' in batch ? batch.sequences : [{ slot: 1, position: 0, ...batch }];

const most = (values: readonly number[]): number => values.reduce((a, b) => Math.max(a, b), 0);

export function countsOf(batch: Batch): BatchCounts {
  const sequences = sequencesOf(batch);
  return {
    rows: sequences.reduce((sum, { rows }) => sum + rows, 0),
    sequences: sequences.length,
    rounds: most(sequences.map(({ rows }) => rows)),
    context: most(sequences.map(({ rows, position }) => position + rows)),
    workgroups: batch.workgroups ?? 1024,
  };
}

/** Room for somewhat more than the batch. */
export function layoutOf(batch: Batch, given: Partial<BatchLayout> = {}): BatchLayout {
  const { rows, context } = countsOf(batch);
  const slots = 2 + most(sequencesOf(batch).map(({ slot }) => slot));
  return {
    rows: rows + 3,
    slots,
    capacity: context + BLOCK_LENGTH,
    windows: [undefined],
    rotated: 0,
    ...given,
  };
}

/** Who has which blocks of the pool. */
export interface Pool {
  readonly numBlocks: number;
  /** By group and sequence: the pool's block of each of the sequence's blocks, undefined for those that it does not have. */
  readonly tables: readonly (readonly (readonly (number | undefined)[])[])[];
}

/** The blocks that rows of a sequence read or write: with a window, none that lie wholly before it. */
function neededBlocks(
  { rows, position }: SequenceRows,
  window: number | undefined,
): [begin: number, end: number] {
  const from = window === undefined ? 0 : Math.max(0, position + 1 - window);
  return [Math.floor(from / BLOCK_LENGTH), Math.ceil((position + rows) / BLOCK_LENGTH)];
}

function shuffled(random: () => number, length: number): number[] {
  const numbers = Array.from({ length }, (_, i) => i);
  for (let i = length - 1; i > 0; i--) {
    const j = Math.floor(random() * (i + 1));
    [numbers[i], numbers[j]] = [numbers[j]!, numbers[i]!];
  }
  return numbers;
}

export function drawPool(random: () => number, batch: Batch, layout: BatchLayout): Pool {
  const needed = layout.windows.map((window) => sequencesOf(batch).map((s) => neededBlocks(s, window)));
  const numBlocks = SPARE_BLOCKS + needed.flat().reduce((sum, [begin, end]) => sum + end - begin, 0);
  const free = shuffled(random, numBlocks);
  const tables = needed.map((ofGroup) =>
    ofGroup.map(([begin, end]) =>
      Array.from({ length: end }, (_, i) => (i < begin ? undefined : free.pop()!)),
    ),
  );
  return { numBlocks, tables };
}

/** The table of the batch, poison where it has nothing to say. */
export function tableOf(batch: Batch, layout: BatchLayout, pool: Pool): Uint32Array<ArrayBuffer> {
  const words = new Uint32Array(batchWords(layout)).fill(POISON);
  words.fill(NO_BLOCK, tablesBegin(layout));
  let row = 0;
  sequencesOf(batch).forEach(({ rows, position, slot, tokens }, s) => {
    words.set([row, rows, slot, 0], sequencesBegin(layout) + SEQUENCE_WORDS * s);
    for (let i = 0; i < rows; i++) {
      words.set([position + i, slot, tokens?.[i] ?? POISON, 0], rowWords(layout) * row++);
    }
    pool.tables.forEach((ofGroup, group) => {
      const begin = tablesBegin(layout) + slot * slotWords(layout) + group * blocksOf(layout);
      words.set(
        ofGroup[s]!.map((block) => block ?? NO_BLOCK),
        begin,
      );
    });
  });
  return words;
}
