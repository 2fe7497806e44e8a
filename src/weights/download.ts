/** @file How many bytes of a checkpoint loading reads, from its headers alone. It must not know where they come from or go. */
import type { Weight } from '../graph/weight.ts';
import type { Checkpoint } from './checkpoint.ts';
import { findStored, type StoredCheckpoint } from './stored.ts';
import { claimedVectors, unclaimedBias } from './upload.ts';

/** Bytes that `uploadWeights` streams for these weights: the `totalBytes` of its progress. */
export function downloadBytes(checkpoint: StoredCheckpoint, weights: Iterable<Weight>): number {
  const find = findStored(checkpoint);
  const bytesOf = new Map<string, number>();
  const everyWeight = [...weights];
  const claimed = claimedVectors(checkpoint, everyWeight);
  for (const weight of everyWeight) {
    weight.names.forEach((_, i) => {
      const { pieces } = find(weight, i);
      for (const { tensor } of [...pieces, ...unclaimedBias(checkpoint, weight, i, claimed)]) {
        bytesOf.set(tensor.name, tensor.end - tensor.begin);
      }
    });
  }
  return [...bytesOf.values()].reduce((sum, bytes) => sum + bytes, 0);
}

/** Bytes of the files that hold tensors: a tensor is the last thing in each. */
export function shardBytes({ tensors }: Pick<Checkpoint, 'tensors'>): number {
  const ends = new Map<string, number>();
  for (const { file, end } of tensors.values()) ends.set(file, Math.max(end, ends.get(file) ?? 0));
  return [...ends.values()].reduce((sum, bytes) => sum + bytes, 0);
}
