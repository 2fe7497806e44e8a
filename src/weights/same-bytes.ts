/** @file Whether two tensors hold the same, without reading all of them. It must not know models or the GPU. */
import { type ReadOptions, readRanges, type Source } from '../sources/source.ts';

const SAMPLE_BYTES = 16 * 1024;

/** Of a tensor what tells where it stands, and what its bytes mean. */
interface Placed {
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly file: string;
  readonly begin: number;
  readonly end: number;
}

/**
 * Compares types and shapes, and the beginning, the middle and the end of both: whoever trains or converts a tensor changes all of it.
 */
export async function haveSameBytes(
  source: Source,
  one: Placed,
  other: Placed,
  options: ReadOptions = {},
): Promise<boolean> {
  if (one.dtype !== other.dtype || one.shape.join() !== other.shape.join()) return false;
  const [first, second] = [await sample(source, one, options), await sample(source, other, options)];
  return first.every((byte, i) => byte === second[i]);
}

async function sample(
  source: Source,
  { file, begin, end }: Placed,
  options: ReadOptions,
): Promise<Uint8Array> {
  const middle = begin + Math.max(SAMPLE_BYTES, Math.floor((end - begin) / 2));
  const starts = [...new Set([begin, middle, Math.max(begin, end - SAMPLE_BYTES)])].sort((a, b) => a - b);
  const ranges = starts.map((start, i) => ({
    begin: start,
    end: Math.min(end, start + SAMPLE_BYTES, starts[i + 1] ?? end),
  }));
  const some = ranges.filter((range) => range.end > range.begin);
  return readRanges(source, file, some, options);
}
