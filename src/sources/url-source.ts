/**
 * @file A checkpoint in a folder on the web: from the names of its files to their addresses. It must not know how they are
 * read, or what is in them.
 */
import { InvalidInputError } from '../errors.ts';
import { shownUrl } from './http.ts';
import { checkName, DEFAULT_MAX_FILE_BYTES, type Source } from './source.ts';
import { UrlReader, type UrlReaderOptions } from './url-reader.ts';

/**
 * A checkpoint on the web.
 * @param base address of its folder, or of a GGUF file; in a page it may be relative. A query string is sent with every file.
 * @throws InvalidInputError when it is not a URL that fetch can read
 */
export function urlSource(base: string | URL, options: UrlReaderOptions = {}): Source {
  const { folder, file } = parseBase(base);
  return { ...urlSourceOf(folder, new UrlReader(options), shownUrl(folder)), file };
}

/** @param folder a URL whose path ends with a slash */
export function urlSourceOf(folder: URL, reader: UrlReader, label: string): Source {
  function fileUrl(name: string): URL {
    checkName(name, label);
    const url = new URL(folder);
    url.pathname += name.split('/').map(encodeURIComponent).join('/');
    return url;
  }

  return {
    label,
    async readFile(name, options = {}) {
      return reader.readFile(fileUrl(name), options.maxBytes ?? DEFAULT_MAX_FILE_BYTES, options);
    },
    async readStart(name, maxBytes, options = {}) {
      return reader.readStart(fileUrl(name), maxBytes, options);
    },
    stream(name, ranges, options = {}) {
      return reader.stream(fileUrl(name), ranges, options);
    },
  };
}

function parseBase(base: string | URL): { folder: URL; file: string | undefined } {
  const page = globalThis.document?.baseURI ?? globalThis.location?.href;
  let url: URL;
  try {
    url = new URL(base, page);
  } catch {
    throw new InvalidInputError(
      `"${base}" is neither a URL nor a name like org/name. Give the address of a folder that begins with https:// or ` +
        "http://, or a name on Hugging Face; for a folder on this computer use folder() of 'shaderloom/node' in Node, or a dropped folder in a page.",
    );
  }
  if (url.protocol === 'file:') {
    throw new InvalidInputError(
      `"${base}" is a file URL, which fetch cannot read. Use folder() of 'shaderloom/node' in Node, or a dropped folder in a page.`,
    );
  }
  if (url.username !== '' || url.password !== '') {
    throw new InvalidInputError(
      `${shownUrl(url)}: fetch sends no user name or password that is part of a URL. Use a token in the query string.`,
    );
  }
  url.hash = '';
  const [, file] = /\/([^/]+\.gguf)$/i.exec(url.pathname) ?? [];
  if (file !== undefined) url.pathname = url.pathname.slice(0, -file.length);
  else if (!url.pathname.endsWith('/')) url.pathname += '/';
  return { folder: url, file: file && decoded(file) };
}

/** A part of an address without its percent signs; as it is where they say nothing, to be refused where names are checked. */
export function decoded(name: string): string {
  try {
    return decodeURIComponent(name);
  } catch {
    return name;
  }
}
