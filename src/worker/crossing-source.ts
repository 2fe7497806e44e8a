/**
 * @file Where a checkpoint is, as it crosses to the worker that loads it: names, addresses, files and handles, none of the bytes.
 * Both sides import this file.
 */
import { InvalidInputError } from '../errors.ts';
import { parseHubName } from '../weights/hub.ts';
import { openSource, type SourceLike } from '../weights/open-source.ts';

/** Files come with their paths: cloning keeps a file's name, but not everywhere where it is in what was chosen. */
export type CrossingSource = string | FileSystemDirectoryHandle | { path: string; file: File }[];

/** @throws InvalidInputError for what is no source, and for one that is an object of the page's */
export async function toCrossing(from: SourceLike): Promise<CrossingSource> {
  if (typeof from === 'string' || from instanceof URL) return address(String(from));
  if (globalThis.FileSystemDirectoryHandle && from instanceof FileSystemDirectoryHandle) return from;
  const source = openSource(from);
  if (source.files) return source.files();
  throw new InvalidInputError(
    `The source ${source.label} cannot cross to a worker, since it is an object with functions. Give what it was made from: a ` +
      'name, a URL, files, a directory handle or a DataTransfer; or leave out `worker`.',
  );
}

/** In the worker: what `loadModel` takes. */
export function fromCrossing(crossing: CrossingSource): SourceLike {
  if (!Array.isArray(crossing)) return crossing;
  return crossing.map(({ file, path }) => Object.defineProperty(file, 'webkitRelativePath', { value: path }));
}

/** A relative address is one of the page's, not of the worker's file. */
function address(text: string): string {
  if (parseHubName(text) || !URL.canParse(text, document.baseURI)) return text;
  return new URL(text, document.baseURI).href;
}
