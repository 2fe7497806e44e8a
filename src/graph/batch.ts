/**
 * @file The table of a batch: which rows one forward pass has, and where their sequences' blocks are. The layout is the same for
 * every program of a model, so that host and kernels need no more than this file and kernels/lib/rows.wgsl. Knows no GPU.
 */

/** Positions of a block of the KV cache. A split and a tile of attention never lie in two blocks at a time. */
export const BLOCK_LENGTH = 64;

/** What a table has room for. */
export interface BatchLayout {
  /** Rows of a pass, at most. */
  readonly rows: number;
  /** Sequences that run at a time, each in a slot of its own. */
  readonly slots: number;
  /** Positions of a sequence. */
  readonly capacity: number;
  /** Groups of layers that see the same positions: by the window that they see, undefined for all positions. */
  readonly windows: readonly (number | undefined)[];
  /** Values of a row's rotary table. */
  readonly rotated: number;
}

/** Words of a row before its rotary table: position, slot, token, 0. */
export const ROW_HEAD = 4;
/** Words of a sequence: its first row, number of rows that count, slot, 0. */
export const SEQUENCE_WORDS = 4;

/**
 * In place of an id: the token that the sampler picked last for the row's slot, or its guess of the one after
 * (kernels/lib/tokens.wgsl).
 */
export const SAMPLED_TOKEN = 0x8000_0000;
export const DRAFTED_TOKEN = 0x8000_0001;

/** Blocks of a table: those of one sequence in one group. */
export const blocksOf = ({ capacity }: Pick<BatchLayout, 'capacity'>): number =>
  Math.ceil(capacity / BLOCK_LENGTH);

/** Words of a row: what is told of it, then its rotary table as f32, cosines before sines. */
export const rowWords = ({ rotated }: Pick<BatchLayout, 'rotated'>): number => ROW_HEAD + rotated;

/** Where the sequences begin, in words. */
export const sequencesBegin = (layout: BatchLayout): number => rowWords(layout) * layout.rows;
/** Where the block tables begin: by slot, then by group. */
export const tablesBegin = (layout: BatchLayout): number =>
  sequencesBegin(layout) + SEQUENCE_WORDS * layout.slots;
/** Words of the tables of one slot. */
export const slotWords = (layout: BatchLayout): number => layout.windows.length * blocksOf(layout);

export const batchWords = (layout: BatchLayout): number =>
  tablesBegin(layout) + layout.slots * slotWords(layout);
