/**
 * @file What a hub says about the files of a repository: the commit behind a branch, and sizes and hashes, to pin and verify
 * what is downloaded. It must not know what happens to them.
 */
import { SourceError } from '../errors.ts';
import { shownUrl } from './http.ts';
import type { HubName, HubRepository } from './hub.ts';
import { isPlainName, type ReadOptions } from './source.ts';

/** What the bytes of a whole file must be: their sha256, or the sha1 of the git blob that they make. */
export interface WholeHash {
  kind: 'sha256' | 'git-sha1';
  hex: string;
}

/** A file as a hub lists it. */
export interface ListedFile {
  size: number;
  hash: WholeHash | undefined;
}

export interface Listing {
  files: Record<string, ListedFile>;
  /** Whether a file that is not listed does not exist. */
  isWhole: boolean;
}

const MAX_ANSWER_BYTES = 16 * 1024 * 1024;
/** Entries of one answer of Hugging Face; the rest would be on further pages. */
const PAGE_ENTRIES = 1000;

export function isCommit(revision: string): boolean {
  return /^[0-9a-f]{40}$/.test(revision);
}

/**
 * The commit that a branch or tag of Hugging Face is now.
 * Undefined: the server does not say, as mirrors that only hand out files.
 */
export async function readCommit(
  name: HubName,
  { endpoint, revision, reader }: HubRepository,
  options: ReadOptions,
): Promise<string | undefined> {
  const path = `/api/models/${name.repository}/revision/${encodeURIComponent(revision)}`;
  const answer = await readJsonAt(new URL(endpoint + path), reader, options);
  const { sha } = (answer ?? {}) as { sha?: unknown };
  return typeof sha === 'string' && isCommit(sha) ? sha : undefined;
}

/** @throws SourceError when the answer is no listing */
export async function readListing(
  name: HubName,
  { endpoint, reader, label }: HubRepository,
  revision: string,
  options: ReadOptions,
): Promise<Listing> {
  const path =
    name.hub === 'hf'
      ? `/api/models/${name.repository}/tree/${encodeURIComponent(revision)}?recursive=true`
      : `/api/v1/models/${name.repository}/repo/files?Revision=${encodeURIComponent(revision)}&Recursive=true`;
  const url = new URL(endpoint + path);
  const answer = await readJsonAt(url, reader, options);
  const listing = name.hub === 'hf' ? listingOfHuggingFace(answer) : listingOfModelScope(answer);
  if (listing) return listing;
  throw new SourceError(
    `${label}: ${shownUrl(url)} gives no list of files. Is ${endpoint} a hub, and are there such a repository and revision?`,
  );
}

async function readJsonAt(url: URL, reader: HubRepository['reader'], options: ReadOptions): Promise<unknown> {
  const bytes = await reader.readFile(url, MAX_ANSWER_BYTES, options);
  try {
    return bytes && JSON.parse(new TextDecoder().decode(bytes));
  } catch {
    return undefined;
  }
}

interface HuggingFaceEntry {
  type?: unknown;
  path?: unknown;
  size?: unknown;
  oid?: unknown;
  lfs?: { oid?: unknown; size?: unknown };
}

/** A large file's `oid` is that of the pointer in git; the file's own is in `lfs`. */
function listingOfHuggingFace(answer: unknown): Listing | undefined {
  if (!Array.isArray(answer)) return undefined;
  const entries = (answer as (HuggingFaceEntry | null)[])
    .filter((entry) => entry?.type === 'file')
    .map((entry) => {
      const { path, oid, size, lfs } = entry!;
      const hash = lfs ? hashOf('sha256', lfs.oid) : hashOf('git-sha1', oid);
      return { path, size: lfs?.size ?? size, hash };
    });
  return listingOf(entries, answer.length < PAGE_ENTRIES);
}

interface ModelScopeEntry {
  Type?: unknown;
  Path?: unknown;
  Size?: unknown;
  Sha256?: unknown;
}

function listingOfModelScope(answer: unknown): Listing | undefined {
  const files = (answer as { Data?: { Files?: unknown } } | undefined)?.Data?.Files;
  if (!Array.isArray(files)) return undefined;
  const entries = (files as (ModelScopeEntry | null)[])
    .filter((entry) => entry?.Type === 'blob')
    .map((entry) => ({ path: entry!.Path, size: entry!.Size, hash: hashOf('sha256', entry!.Sha256) }));
  return listingOf(entries, true);
}

function listingOf(
  entries: { path: unknown; size: unknown; hash: WholeHash | undefined }[],
  isWhole: boolean,
): Listing {
  const files: Record<string, ListedFile> = Object.create(null);
  for (const { path, size, hash } of entries) {
    const isUsable =
      typeof path === 'string' && isPlainName(path) && Number.isSafeInteger(size) && (size as number) >= 0;
    if (isUsable) files[path] = { size: size as number, hash };
  }
  return { files, isWhole };
}

function hashOf(kind: WholeHash['kind'], hex: unknown): WholeHash | undefined {
  const digits = kind === 'sha256' ? 64 : 40;
  const isHash = typeof hex === 'string' && hex.length === digits && /^[0-9a-f]+$/.test(hex);
  return isHash ? { kind, hex } : undefined;
}
