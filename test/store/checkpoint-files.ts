/** @file The files of a small checkpoint, and loading it from a source as the library does. */
import { expect } from 'vitest';
import type { LoadProgress } from '../../src/weights/progress.ts';
import type { Source } from '../../src/weights/source.ts';

/** mulberry32. */
export function randomFrom(seed: number): () => number {
  let state = seed | 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let x = Math.imul(state ^ (state >>> 15), 1 | state);
    x = (x + Math.imul(x ^ (x >>> 7), 61 | x)) ^ x;
    return ((x ^ (x >>> 14)) >>> 0) / 2 ** 32;
  };
}

export type Files = Map<string, Uint8Array>;

/** Two shards and three small files, of odd sizes. */
export function checkpointFiles(random: () => number): Files {
  const bytes = (length: number) => Uint8Array.from({ length }, () => random() * 256);
  return new Map([
    ['config.json', bytes(701)],
    ['tokenizer.json', bytes(80_021)],
    ['model.safetensors.index.json', bytes(3_333)],
    ['model-00001-of-00002.safetensors', bytes(131_072)],
    ['model-00002-of-00002.safetensors', bytes(150_007)],
  ]);
}

/** A whole file, as a loader reads such a file. */
export async function readStored(
  source: Source,
  name: string,
  size?: number,
): Promise<Uint8Array | undefined> {
  if (size === undefined) return source.readFile(name);
  const bytes = new Uint8Array(size);
  let offset = 0;
  for await (const chunk of source.stream(name, [{ begin: 0, end: size }])) {
    bytes.set(chunk, offset);
    offset += chunk.length;
  }
  expect(offset).toBe(size);
  return bytes;
}

/** Reads all of a checkpoint in the order of a load, and expects exactly these files. */
export async function fillStore(
  source: Source,
  files: Files,
  onProgress?: (progress: LoadProgress) => void,
): Promise<void> {
  const expectSame = (name: string, bytes: Uint8Array | undefined, wanted: Uint8Array) =>
    expect(bytes && Buffer.compare(bytes, wanted), `bytes of ${name}`).toBe(0);
  const isShard = (name: string) => name.endsWith('.safetensors');
  const shards = [...files].filter(([name]) => isShard(name));
  for (const [name, bytes] of files) {
    if (!isShard(name)) expectSame(name, await readStored(source, name), bytes);
  }
  const starts = new Map<string, Uint8Array | undefined>();
  for (const [name] of shards) starts.set(name, (await source.readStart(name, 65_536))?.bytes);
  expect(await source.readFile('chat_template.jinja')).toBeUndefined();
  await source.prepare?.(
    shards.map(([name, { length }]) => ({ name, bytes: length })),
    { onProgress },
  );
  for (const [name, bytes] of shards) {
    // A header is read before its file is here; only now must it have been the right one.
    expectSame(name, starts.get(name), bytes.subarray(0, 65_536));
    expectSame(name, await readStored(source, name, bytes.length), bytes);
  }
}
