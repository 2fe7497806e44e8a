/**
 * @file Chunks of prompts of which rows are read: several short prompts share one, and nothing is sampled after it. Loaded with the first. It must not know
 * what is in flight, or who is next.
 */
import { NumericalError } from '../../errors.ts';
import { FEW_ROWS } from '../../graph/op-list.ts';
import type { Admission } from './admission.ts';
import type { Batch } from './batch.ts';
import type { Runner } from './runner.ts';
import type { Reading, RowsRead, RowValue, Sequence } from './sequence.ts';

/** Rows of a sequence that come with a chunk. */
export interface ReadPart {
  readonly sequence: Sequence;
  readonly rows: number;
}

/** What a chunk was submitted as. `parts`: those of whom something is read. */
export interface ReadChunk {
  readonly batch: Batch;
  readonly parts: readonly ReadPart[];
  readonly picked: Promise<readonly (RowsRead | NumericalError)[] | undefined>;
}

/** A prompt, which has room for its rows, and others for which there are rows left, and room that nobody must give. */
export async function partsOfChunk(
  admission: Admission,
  first: ReadPart,
  mostRows: number,
): Promise<ReadPart[]> {
  const parts = [first];
  let left = mostRows - first.rows;
  for (const sequence of [...admission.running]) {
    if (left <= 0 || parts.length === FEW_ROWS) break;
    if (sequence === first.sequence || !isAlike(sequence, first.sequence)) continue;
    const rows = Math.min(left, sequence.promptEnd - sequence.computed);
    if (!(await admission.findRoom(sequence, sequence.computed + rows))) continue;
    parts.push({ sequence, rows });
    left -= rows;
  }
  // Some may have ended meanwhile.
  return parts.filter(({ sequence }) => sequence.phase === 'prefilling');
}

/** Whether the next chunk of a sequence is for the same programs. */
function isAlike({ phase, computed, written, options }: Sequence, first: Sequence): boolean {
  const { reading } = options;
  const { name, numTop } = first.options.reading!;
  if (phase !== 'prefilling' || computed < written.length) return false;
  return reading?.name === name && reading.numTop === numTop;
}

/** Submits a chunk, and what reads its rows. */
export function submitChunk(runner: Runner, admission: Admission, parts: readonly ReadPart[]): ReadChunk {
  const batch = parts.map(({ sequence: { slot, computed, ids, anglesLength }, rows }) => ({
    slot: slot!,
    position: computed,
    tokens: ids.slice(computed, computed + rows),
    length: Math.max(anglesLength, computed + 1),
  }));
  let firstRow = 0;
  const wanted = parts.map(({ sequence, rows }) => {
    const { computed: begin, options } = sequence;
    admission.record(sequence, begin, rows, 'c');
    if (begin + rows === sequence.promptEnd) sequence.phase = 'reading';
    const own = options.reading!.rows.filter(({ position }) => position >= begin && position < begin + rows);
    const offset = firstRow - begin;
    firstRow += rows;
    return own.map(({ position, token }) => ({ row: offset + position, token }));
  });
  runner.compute('prefill', batch);
  const { reading } = parts[0]!.sequence.options;
  const isRead = wanted.some((rows) => rows.length > 0);
  const read = isRead ? readRows(runner, reading!, wanted) : undefined;
  return { batch, parts: isRead ? parts : [], picked: read ?? runner.ran() };
}

/** What was wanted of each part. */
async function readRows(
  runner: Runner,
  reading: Reading,
  wanted: readonly (readonly { row: number; token: number }[])[],
): Promise<(RowsRead | NumericalError)[]> {
  const values = await runner.read(reading, wanted.flat());
  let end = 0;
  return wanted.map(({ length }) => {
    const own = values.slice(end, end + length);
    end += length;
    const isNumber = (value: RowValue | undefined): value is RowValue => value !== undefined;
    return own.every(isNumber) ? { values: own } : noNumbers();
  });
}

const noNumbers = (): NumericalError =>
  new NumericalError(
    "The model computed NaN or infinite numbers for this prompt. Try precision: 'f32', and check the checkpoint.",
  );
