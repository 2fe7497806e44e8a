/**
 * @file Where a checkpoint is, in a form that can cross to the worker that loads it: names, addresses, files and handles, but no bytes.
 * Both sides import this file.
 */
import { InvalidInputError } from '../errors.ts';
import { parseHubName } from '../sources/hub.ts';
import { openSource, type SourceLike } from '../sources/open-source.ts';

/** Files come with their paths: cloning keeps a file's name, but not in every browser its path in the chosen folder. */
export type CrossingSource = string | FileSystemDirectoryHandle | { path: string; file: File }[];

/** @throws InvalidInputError for what is not a source, and for a source that is an object of the page */
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

/** Relative addresses are relative to the page, not to the worker's file. */
function address(text: string): string {
  if (parseHubName(text) || !URL.canParse(text, document.baseURI)) return text;
  return new URL(text, document.baseURI).href;
}
