/**
 * @file Which GGUF file of a folder is meant: the one that a pattern names, or the only one, or the one that most people take. It must not
 * know what is in the files.
 */
import { SourceError } from '../../errors.ts';
import type { ReadOptions, Source } from '../../sources/source.ts';

/** Of repositories with one file for each way of quantising: small, and close to the original. */
const USUAL = /[-._]q4_k_m(-00001-of-\d{5})?\.gguf$/i;
/** Files that are no language model: what sees images, and what a quantiser learnt. */
const OTHER_KINDS = /(^|\/)mmproj|imatrix|\.imatrix\./i;
/** Listed in messages at most. */
const MAX_LISTED = 40;

/**
 * @param pattern a file's name, in which `*` stands for anything; undefined: not told
 * @returns undefined when there is no GGUF file, and none was asked for
 * @throws SourceError when it is not certain which one is meant
 */
export async function chooseGguf(
  source: Source,
  pattern: string | undefined,
  options: ReadOptions,
): Promise<string | undefined> {
  // An address of a file needs no list.
  if (pattern !== undefined && !pattern.includes('*')) return pattern;
  const names = ((await source.list?.(options)) ?? []).filter(
    (name) => /\.gguf$/i.test(name) && !OTHER_KINDS.test(name),
  );
  // A split set is named by its first file.
  const models = names.filter((name) => !/-(?!00001)\d{5}-of-\d{5}\.gguf$/i.test(name)).sort();
  const found = pattern === undefined ? models : models.filter((name) => matches(name, pattern));
  if (found.length === 1) return found[0];
  if (found.length === 0 && pattern === undefined) {
    if (names.length === 0) return undefined;
    throw new SourceError(
      `${source.label}: ${names[0]} is part of a set whose first file is not there. Add it.`,
    );
  }
  if (found.length === 0) {
    throw new SourceError(
      `${source.label}: no GGUF file is named like ${pattern}. ${await listed(source, models, options)}`,
    );
  }
  const usual = found.filter((name) => USUAL.test(name));
  if (pattern === undefined && usual.length === 1) return usual[0];
  throw new SourceError(
    `${source.label}: several GGUF files${pattern === undefined ? '' : ` are named like ${pattern}`}; say which one with the option file. ` +
      `${await listed(source, found, options)}`,
  );
}

/** Whether a name, or its last part, fits a pattern; upper and lower case are the same. */
function matches(name: string, pattern: string): boolean {
  const escaped = pattern.split('*').map((part) => part.replace(/[.+?^${}()|[\]\\]/g, '\\$&'));
  const regex = new RegExp(`^${escaped.join('.*')}$`, 'i');
  return regex.test(name) || regex.test(name.slice(name.lastIndexOf('/') + 1));
}

/** Names with their sizes, as far as they can be had. */
async function listed(source: Source, names: readonly string[], options: ReadOptions): Promise<string> {
  if (names.length === 0) return 'There is no GGUF file.';
  const shown = await Promise.all(
    names.slice(0, MAX_LISTED).map(async (name) => {
      const size = (await source.readStart(name, 1, options).catch(() => undefined))?.size;
      return size === undefined ? name : `${name} (${size} bytes)`;
    }),
  );
  return `There are ${shown.join(', ')}${names.length > shown.length ? ', …' : ''}.`;
}
