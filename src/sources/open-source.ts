/** @file From whatever a user has at hand to a Source. */
import { InvalidInputError } from '../errors.ts';
import { directorySource, filesSource, sourceFromDrop } from './file-source.ts';
import { type HubOptions, hubSource, parseHubName } from './hub.ts';
import type { Source } from './source.ts';
import { urlSource } from './url-source.ts';

/**
 * Everything a checkpoint can be opened from in any environment; Node adds `folder(path)` of `shaderloom/node`. A string is
 * the URL of a folder, or a name: `org/name` or `org/name@revision` on Hugging Face, `modelscope:org/name` on ModelScope.
 */
export type SourceLike =
  | string
  | URL
  | FileList
  | readonly File[]
  | FileSystemDirectoryHandle
  | DataTransfer
  | Source;

export interface OpenSourceOptions {
  /** For names on Hugging Face. */
  hub?: HubOptions | undefined;
}

/**
 * @param from a name, a folder's URL, the files of an input, a directory handle, what was dropped, or a source
 * @throws InvalidInputError for anything else, and for hub options that cannot be used
 */
export function openSource(from: SourceLike, { hub }: OpenSourceOptions = {}): Source {
  if (typeof from === 'string' || from instanceof URL) {
    const name = parseHubName(String(from));
    return name ? hubSource(name, hub) : urlSource(from);
  }
  if (typeof from === 'object' && from !== null) {
    if ('readStart' in from) return from;
    if (isA('FileSystemDirectoryHandle', from)) return directorySource(from as FileSystemDirectoryHandle);
    if (isA('DataTransfer', from)) return sourceFromDrop(from as DataTransfer);
    if (Array.isArray(from) || isA('FileList', from)) {
      const files = [...(from as Iterable<unknown>)];
      if (files.length > 0 && files.every((file) => file instanceof File)) return filesSource(files);
    }
  }
  throw new InvalidInputError(
    `Cannot open a checkpoint from ${describe(from)}. Wanted a name like org/name, the URL of a folder, the File objects of an input, a ` +
      "directory handle, the DataTransfer of a drop, or a source such as folder() of 'shaderloom/node'.",
  );
}

/** instanceof for a class that exists only in browsers. */
function isA(className: 'FileSystemDirectoryHandle' | 'DataTransfer' | 'FileList', value: object): boolean {
  const theClass = (globalThis as Record<string, unknown>)[className];
  return typeof theClass === 'function' && value instanceof theClass;
}

function describe(value: unknown): string {
  if (typeof value !== 'object' || value === null) return String(value);
  if ('length' in value) return `a list of ${value.length} that holds no files or more than files`;
  return `an object of class ${value.constructor?.name ?? 'none'}`;
}
