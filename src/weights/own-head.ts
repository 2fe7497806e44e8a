/**
 * @file Whether a checkpoint has an output head of its own although its config ties it to the embedding. It must not know models or
 * the GPU.
 */
import type { ReadOptions } from '../sources/source.ts';
import type { Checkpoint } from './checkpoint.ts';
import { haveSameBytes } from './same-bytes.ts';

/** Compares both, where there are both: transformers uses a head that is there. */
export async function hasOwnHead(
  { source, tensors }: Pick<Checkpoint, 'source' | 'tensors'>,
  options: ReadOptions = {},
): Promise<boolean> {
  const head = tensors.get('lm_head.weight');
  const embedding = tensors.get('model.embed_tokens.weight');
  if (!head || !embedding) return false;
  return !(await haveSameBytes(source, head, embedding, options));
}
