/** @file Opens a checkpoint, reads all of it and sums it up as JSON, so that a page's reading can be compared with Node's. */

import type { Source } from '../../src/sources/source.ts';
import { type Checkpoint, openCheckpoint, streamTensors } from '../../src/weights/checkpoint.ts';

export interface Summary {
  config: Checkpoint['config'];
  /** Tensor names and their SHA-256. */
  tensors: Record<string, string>;
}

export interface Failure {
  name: string;
  message: string;
}

export async function readCheckpoint(open: () => Source): Promise<Summary | Failure> {
  try {
    const { source, config, tensors } = await openCheckpoint(open());
    const contents = new Map(
      [...tensors.values()].map(({ name, begin, end }) => [name, new Uint8Array(end - begin)]),
    );
    for await (const { tensor, offset, bytes } of streamTensors(source, tensors.values())) {
      contents.get(tensor.name)!.set(bytes, offset);
    }
    const hashes = [...contents].map(async ([name, bytes]) => [name, await sha256(bytes)] as const);
    return { config, tensors: Object.fromEntries(await Promise.all(hashes)) };
  } catch (error) {
    const { name, message } = error as Error;
    return { name, message };
  }
}

async function sha256(bytes: Uint8Array<ArrayBuffer>): Promise<string> {
  const hash = new Uint8Array(await crypto.subtle.digest('SHA-256', bytes));
  return Array.from(hash, (byte) => byte.toString(16).padStart(2, '0')).join('');
}
