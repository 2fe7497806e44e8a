/**
 * @file Which version of a checkpoint is meant: asks its hub, or falls back to what the store knows when there is no answer.
 * It must not know how files are kept.
 */
import { TemporaryError } from '../sources/http.ts';
import { type HubName, type HubOptions, openRepository, repositoryFiles } from '../sources/hub.ts';
import { isCommit, type Listing, readCommit, readListing } from '../sources/hub-listing.ts';
import type { ReadOptions, Source } from '../sources/source.ts';
import type { UrlReaderOptions } from '../sources/url-reader.ts';
import { urlSource } from '../sources/url-source.ts';
import type { Backend } from './backend.ts';
import { sha256 } from './disk.ts';
import { applyModelRecord, type ModelRecord, type ModelState, readModelState } from './model-log.ts';

/** One version of a checkpoint, as far as versions can be distinguished. */
export interface Snapshot {
  id: string;
  /** Reads from the network. */
  upstream: Source;
  state: ModelState;
  /** Writes to the model's log, and applies to `state`. */
  record(...records: ModelRecord[]): Promise<void>;
}

/** Used for the commit in the journal of a branch whose server names none. */
const NO_COMMIT = 'none';

/** What was asked for. Nothing is read before `open`, and no server error is thrown before it. */
export interface Origin {
  label: string;
  /** As `Source.file`. */
  file: string | undefined;
  /** Whether the names of the files are known. */
  isListed: boolean;
  open(options: ReadOptions): Promise<Snapshot>;
}

async function openSnapshot(
  backend: Backend,
  key: string,
  name: string,
  revision: string | undefined,
  upstream: Source,
): Promise<Snapshot> {
  const id = await sha256(`${key}@${revision ?? ''}`);
  const path = `models/${id}`;
  const head: ModelRecord = { model: { name, revision } };
  const known = readModelState((await backend.readLog(path)) as ModelRecord[]);
  const state = known ?? readModelState([head])!;
  let isNew = known === undefined;
  return {
    id,
    upstream,
    state,
    async record(...records) {
      // A log begins when there is something to note, so a mistyped name leaves none.
      await backend.appendLog(path, isNew ? [head, ...records] : records);
      isNew = false;
      for (const record of records) applyModelRecord(state, record);
    },
  };
}

/** A folder on the web: each file has its own version. A query may hold a signature that expires, so it is ignored. */
export function urlOrigin(backend: Backend, base: string | URL, reading: UrlReaderOptions): Origin {
  const upstream = urlSource(base, reading);
  const { label, file } = upstream;
  const name = `${label.replace(/\?…$/, '')}${file ?? ''}`;
  return {
    label,
    file,
    isListed: false,
    open: () => openSnapshot(backend, `url:${name}`, name, undefined, upstream),
  };
}

/** As it stands behind the name of a repository. */
const shownFile = ({ file }: HubName): string =>
  file === undefined ? '' : file.startsWith('*') ? `:${file.slice(1, -1)}` : `/${file}`;

export function hubOrigin(
  backend: Backend,
  name: HubName,
  options: HubOptions | undefined,
  reading: UrlReaderOptions,
): Origin {
  const repository = openRepository(name, options, reading);
  const { label, revision } = repository;
  const isPlain = repository.endpoint === 'https://huggingface.co' || name.hub === 'modelscope';
  const key = `${name.hub}:${name.repository}${shownFile(name)}${isPlain ? '' : ` of ${repository.endpoint}`}`;
  const shownName = `${name.hub === 'hf' ? '' : 'modelscope:'}${name.repository}${shownFile(name)}`;
  const openAt = (version: string, filesAt = version) =>
    openSnapshot(backend, key, shownName, version, repositoryFiles(repository, filesAt));

  /** The commit of the revision when the hub last answered. */
  async function recall(refPath: string, error: unknown): Promise<Snapshot> {
    const last = (await backend.readLog(refPath)).at(-1) as { version: string } | undefined;
    if (!(error instanceof TemporaryError) || !last) throw error;
    if (last.version === NO_COMMIT) return openWithoutCommit();
    return openAt(last.version, name.hub === 'hf' ? last.version : revision);
  }

  /** A mirror that has files and nothing else. */
  function openWithoutCommit(): Promise<Snapshot> {
    const upstream = repositoryFiles(repository, revision);
    return openSnapshot(backend, `${key}@${revision}`, shownName, undefined, upstream);
  }

  async function withListing(snapshot: Snapshot, read: () => Promise<Listing>): Promise<Snapshot> {
    const { listing, isListingDoubted } = snapshot.state;
    if (listing && !isListingDoubted) return snapshot;
    try {
      await snapshot.record({ listing: await read() });
    } catch (error) {
      // Without its hashes, files would be taken unverified.
      if (!(error instanceof TemporaryError) || !listing) throw error;
    }
    return snapshot;
  }

  return {
    label,
    file: name.file,
    isListed: true,
    async open(options) {
      if (name.hub === 'hf' && isCommit(revision)) {
        return withListing(await openAt(revision), () => readListing(name, repository, revision, options));
      }
      const refPath = `refs/${await sha256(`${key}@${revision}`)}`;
      let version: string | undefined;
      let listing: Listing | undefined;
      try {
        if (name.hub === 'hf') version = await readCommit(name, repository, options);
        else {
          listing = await readListing(name, repository, revision, options);
          version = await digestOf(listing);
        }
      } catch (error) {
        options.signal?.throwIfAborted();
        return recall(refPath, error);
      }
      const last = (await backend.readLog(refPath)).at(-1) as { version: string } | undefined;
      const snapshot =
        version === undefined
          ? await openWithoutCommit()
          : await withListing(
              await openAt(version, name.hub === 'hf' ? version : revision),
              async () => listing ?? readListing(name, repository, version, options),
            );
      const found = version ?? NO_COMMIT;
      if (last?.version !== found) await backend.appendLog(refPath, [{ version: found }]);
      return snapshot;
    },
  };
}

/** Used as the commit where a hub cannot be asked for one: it changes whenever a file does. */
async function digestOf({ files }: Listing): Promise<string> {
  const lines = Object.entries(files).map(([name, { size, hash }]) => `${name} ${size} ${hash?.hex ?? ''}`);
  return (await sha256(lines.sort().join('\n'))).slice(0, 40);
}
