/**
 * @file Whether a checkpoint has an output head of its own although its config ties it to the embedding. It must not know models or
 * the GPU.
 */
import type { ReadOptions } from '../sources/source.ts';
import type { Checkpoint, TensorEntry } from './checkpoint.ts';

const SAMPLE_BYTES = 16 * 1024;

/**
 * Compares the beginning, the middle and the end of both, where there are both: whoever trained a head changed all of it.
 * transformers uses a head that is there.
 */
export async function hasOwnHead(
  { source, tensors }: Pick<Checkpoint, 'source' | 'tensors'>,
  options: ReadOptions = {},
): Promise<boolean> {
  const head = tensors.get('lm_head.weight');
  const embedding = tensors.get('model.embed_tokens.weight');
  if (!head || !embedding) return false;
  if (head.dtype !== embedding.dtype || head.end - head.begin !== embedding.end - embedding.begin)
    return true;
  const read = async ({ file, begin, end }: TensorEntry): Promise<Uint8Array> => {
    const middle = begin + Math.max(SAMPLE_BYTES, Math.floor((end - begin) / 2));
    const starts = [...new Set([begin, middle, Math.max(begin, end - SAMPLE_BYTES)])].sort((a, b) => a - b);
    const ranges = starts.map((start, i) => ({
      begin: start,
      end: Math.min(end, start + SAMPLE_BYTES, starts[i + 1] ?? end),
    }));
    const bytes: number[] = [];
    const some = ranges.filter((range) => range.end > range.begin);
    for await (const chunk of source.stream(file, some, options)) for (const byte of chunk) bytes.push(byte);
    return Uint8Array.from(bytes);
  };
  const [own, tied] = [await read(head), await read(embedding)];
  return own.some((byte, i) => byte !== tied[i]);
}
