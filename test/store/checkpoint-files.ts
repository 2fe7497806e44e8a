/** @file The files of a small checkpoint, and loading it from a source as the library does. Runs in Node and in pages. */
import type { LoadProgress } from '../../src/sources/progress.ts';
import type { Source } from '../../src/sources/source.ts';

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

export interface LoadHooks {
  signal?: AbortSignal | undefined;
  onProgress?: (progress: LoadProgress) => void;
  /** False: takes whatever comes. */
  compares?: boolean;
}

async function readShard(source: Source, name: string, size: number, signal: LoadHooks['signal']) {
  const bytes = new Uint8Array(size);
  let offset = 0;
  for await (const chunk of source.stream(name, [{ begin: 0, end: size }], { signal })) {
    bytes.set(chunk, offset);
    offset += chunk.length;
  }
  return bytes.subarray(0, offset);
}

const HEADER_BYTES = 65_536;
const isShard = (name: string) => name.endsWith('.safetensors');

/** Other bytes came out of a store than one version of the file has. */
export class WrongBytesError extends Error {}

/**
 * Reads all of a checkpoint in the order of a load.
 * @param versions what each of the files may be; all have the sizes of the first
 * @throws WrongBytesError when a file is none of its versions
 */
export async function loadFiles(
  source: Source,
  versions: readonly Files[],
  { signal, onProgress, compares = true }: LoadHooks = {},
): Promise<Files> {
  const files = versions[0]!;
  const read: Files = new Map();
  const keep = (name: string, bytes: Uint8Array) => {
    const isRight = !compares || versions.some((version) => isSame(bytes, version.get(name)!));
    if (!isRight) throw new WrongBytesError(`${name}: ${bytes.length} bytes of no version of it`);
    read.set(name, bytes);
  };
  for (const name of files.keys()) {
    if (!isShard(name)) keep(name, (await source.readFile(name, { signal })) ?? new Uint8Array(0));
  }
  if (await source.readFile('chat_template.jinja', { signal }))
    throw new WrongBytesError('a file of nothing');
  const shards = [...files].filter(([name]) => isShard(name));
  const starts = new Map<string, Uint8Array | undefined>();
  for (const [name] of shards)
    starts.set(name, (await source.readStart(name, HEADER_BYTES, { signal }))?.bytes);
  const extents = shards.map(([name, { length }]) => ({ name, bytes: length }));
  await source.prepare?.(extents, { signal, onProgress });
  for (const [name, { length }] of shards) {
    keep(name, await readShard(source, name, length, signal));
    // A header is read before its file is here; only now must it have been the right one.
    if (isSame(starts.get(name), read.get(name)!.subarray(0, HEADER_BYTES))) continue;
    throw new WrongBytesError(`${name}: had another header before`);
  }
  return read;
}

function isSame(a: Uint8Array | undefined, b: Uint8Array): boolean {
  if (a?.length !== b.length) return false;
  for (let i = 0; i < b.length; i++) if (a[i] !== b[i]) return false;
  return true;
}
