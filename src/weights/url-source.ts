/**
 * @file A checkpoint at a URL, read with fetch and HTTP Range requests, with retries. It must not know what is in the
 * files. No length that a server announces is believed, except the total of a Content-Range: a Content-Length counts
 * compressed bytes when the body is compressed, and a page of another site cannot see whether it is.
 */
import { CorruptCheckpointError, InvalidInputError, SourceError } from '../errors.ts';
import {
  checkResponse,
  findHiddenAnswer,
  HiddenAnswerError,
  noAnswer,
  reason,
  shownUrl,
  TemporaryError,
} from './http.ts';
import {
  type ByteRange,
  type Cursor,
  checkFileSize,
  checkName,
  createCursor,
  DEFAULT_MAX_FILE_BYTES,
  type RangeReader,
  type ReadOptions,
  readUpTo,
  type Source,
  streamRanges,
} from './source.ts';

export interface UrlSourceOptions {
  /** Milliseconds before the first retry; doubles with each further one. 500 when not given. */
  retryDelay?: number | undefined;
}

/** Retries in a row without a new byte before giving up. */
const MAX_RETRIES = 4;
/** Where a failure is more likely final: a site that never answered, an answer that this page may not see. */
const MAX_DOUBTFUL_RETRIES = 1;

interface Answer {
  cursor: Cursor;
  /** The body is the whole file, although a range was asked for. */
  isWhole: boolean;
  /** Size of the file, where a Content-Range tells. */
  size: number | undefined;
}

/**
 * A checkpoint folder on the web.
 * @param base address of the folder; in a page it may be relative. A query string is sent with every file.
 * @throws InvalidInputError when it is not a URL that fetch can read
 */
export function urlSource(base: string | URL, options: UrlSourceOptions = {}): Source {
  const folder = parseBase(base);
  const retryDelay = options.retryDelay ?? 500;
  const sizes = new Map<string, number>();
  let hasAnswered = false;
  let hasAnsweredRange = false;

  function fileUrl(name: string): URL {
    checkName(name, shownUrl(folder));
    const url = new URL(folder);
    url.pathname += name.split('/').map(encodeURIComponent).join('/');
    return url;
  }

  async function fetchResponse(
    url: URL,
    range: ByteRange | undefined,
    options: ReadOptions,
  ): Promise<Response> {
    const { signal = null } = options;
    const headers: HeadersInit = range ? { Range: `bytes=${range.begin}-${range.end - 1}` } : {};
    try {
      return await fetch(url, { headers, signal });
    } catch (error) {
      signal?.throwIfAborted();
      if (range && hasAnswered && !hasAnsweredRange) {
        // Some servers cannot be asked for ranges at all: they compress the answer although a browser then forbids it,
        // or do not allow pages of other sites to send the header.
        const whole = await fetch(url, { signal }).catch(() => undefined);
        signal?.throwIfAborted();
        if (whole) return whole;
      }
      throw (await findHiddenAnswer(url, options)) ?? noAnswer(url, error);
    }
  }

  /** One request. Undefined: there is no such file. */
  async function request(
    url: URL,
    range: ByteRange | undefined,
    options: ReadOptions,
  ): Promise<Answer | undefined> {
    const response = await fetchResponse(url, range, options);
    hasAnswered = true;
    if (response.status === 206) hasAnsweredRange = true;
    const cursor = createCursor(
      response.body ?? new Blob().stream(),
      range && response.status === 206 ? range.begin : 0,
    );
    let answer: Answer | undefined;
    try {
      const size = checkResponse(response, url, range);
      if (size !== 'missing') answer = { cursor, isWhole: response.status === 200, size };
      if (answer?.size !== undefined) checkUnchanged(url, answer.size);
    } catch (error) {
      await cursor.close();
      throw error;
    }
    if (!answer) await cursor.close();
    return answer;
  }

  function checkUnchanged(url: URL, size: number): void {
    const before = sizes.get(url.href) ?? size;
    sizes.set(url.href, size);
    if (before === size) return;
    throw new SourceError(
      `${shownUrl(url)}: the file had ${before} bytes and now has ${size}: it changed while it was read. Load it again.`,
    );
  }

  /** Waits before another try, or throws when the failure is final. */
  function createRetries({ signal }: ReadOptions) {
    let numFailures = 0;
    return {
      progressed() {
        numFailures = 0;
      },
      async failed(error: unknown): Promise<void> {
        signal?.throwIfAborted();
        if (!(error instanceof TemporaryError)) throw error;
        const isDoubtful = !hasAnswered || error instanceof HiddenAnswerError;
        if (numFailures >= (isDoubtful ? MAX_DOUBTFUL_RETRIES : MAX_RETRIES)) {
          error.message += ` Gave up after ${numFailures + 1} tries.`;
          throw error;
        }
        await sleep(Math.max(error.retryAfterMs, retryDelay * 2 ** numFailures), signal);
        numFailures += 1;
      },
    };
  }

  /** For the first look at a file: undefined when it is not there, as far as can be seen. */
  async function withRetries<T>(options: ReadOptions, attempt: () => Promise<T>): Promise<T | undefined> {
    const retries = createRetries(options);
    for (;;) {
      try {
        return await attempt();
      } catch (error) {
        try {
          await retries.failed(error);
        } catch (final) {
          if (hasAnswered && final instanceof HiddenAnswerError) return undefined;
          throw final;
        }
      }
    }
  }

  return {
    label: shownUrl(folder),

    async readFile(name, options = {}) {
      const url = fileUrl(name);
      const maxBytes = options.maxBytes ?? DEFAULT_MAX_FILE_BYTES;
      const bytes = await withRetries(options, async () => {
        const answer = await request(url, undefined, options);
        return answer && (await readAndClose(answer.cursor, maxBytes + 1, url, options));
      });
      if (bytes) checkFileSize(bytes.length, maxBytes, shownUrl(url));
      return bytes;
    },

    async readStart(name, maxBytes, options = {}) {
      const url = fileUrl(name);
      return withRetries(options, async () => {
        const answer = await request(url, { begin: 0, end: maxBytes }, options);
        if (!answer) return undefined;
        const bytes = await readAndClose(answer.cursor, maxBytes, url, options);
        const isWholeFile = answer.isWhole && bytes.length < maxBytes;
        return { bytes, size: answer.size ?? (isWholeFile ? bytes.length : undefined) };
      });
    },

    stream(name, ranges, options = {}) {
      return streamRanges(ranges, createRangeReader(fileUrl(name), options), options);
    },
  };

  /** Reads on through one answer as long as it lasts; asks again from where it stopped. */
  function createRangeReader(url: URL, options: ReadOptions): RangeReader {
    const retries = createRetries(options);
    let answer: Answer | undefined;
    let answerBegin = 0;
    let answerEnd = 0;

    async function end(): Promise<void> {
      await answer?.cursor.close();
      answer = undefined;
    }

    async function tryNext(range: ByteRange, groupEnd: number): Promise<Uint8Array | undefined> {
      if (answer && !answer.isWhole && answerEnd !== groupEnd) await end();
      if (!answer) {
        answer = await request(url, { begin: range.begin, end: groupEnd }, options);
        answerBegin = range.begin;
        answerEnd = groupEnd;
      }
      if (!answer) {
        throw new SourceError(
          `${shownUrl(url)}: there is no such file. Is every file of the checkpoint there?`,
        );
      }
      if (answer.size !== undefined && answer.size < groupEnd) throw truncated(url, answer.size, groupEnd);
      const chunk = await read(url, options, answer.cursor, (cursor) => cursor.next(range.begin, range.end));
      if (chunk) return chunk;
      // Too short an answer may be one of several; one without a single byte means that the file is over.
      if (range.begin === answerBegin) throw truncated(url, answer.cursor.position, groupEnd);
      await end();
      return undefined;
    }

    return {
      async next(range, groupEnd) {
        for (;;) {
          try {
            const chunk = await tryNext(range, groupEnd);
            if (!chunk) continue;
            retries.progressed();
            return chunk;
          } catch (error) {
            await end();
            await retries.failed(error);
          }
        }
      },
      close: end,
    };
  }
}

function truncated(url: URL, size: number, end: number): CorruptCheckpointError {
  return new CorruptCheckpointError(
    `${shownUrl(url)}: the file ends at byte ${size}, wanted bytes up to ${end}: it is truncated. Upload it again there, ` +
      'or load the checkpoint from elsewhere.',
  );
}

/** Reads from an answer; a connection that breaks meanwhile is a TemporaryError. */
async function read<T>(
  url: URL,
  { signal }: ReadOptions,
  cursor: Cursor,
  take: (cursor: Cursor) => Promise<T>,
): Promise<T> {
  try {
    return await take(cursor);
  } catch (error) {
    signal?.throwIfAborted();
    throw new TemporaryError(
      `${shownUrl(url)}: the connection broke at byte ${cursor.position} (${reason(error)}). Is the network up?`,
    );
  }
}

async function readAndClose(
  cursor: Cursor,
  maxBytes: number,
  url: URL,
  options: ReadOptions,
): Promise<Uint8Array> {
  try {
    return await read(url, options, cursor, (cursor) => readUpTo(cursor, maxBytes));
  } finally {
    await cursor.close();
  }
}

function parseBase(base: string | URL): URL {
  const page = globalThis.document?.baseURI ?? globalThis.location?.href;
  let url: URL;
  try {
    url = new URL(base, page);
  } catch {
    throw new InvalidInputError(
      `"${base}" is not a URL. Give the address of a folder that begins with https:// or http://; for a folder on ` +
        "this computer use folder() of 'shaderloom/node' in Node, or a dropped folder in a page.",
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
  if (!url.pathname.endsWith('/')) url.pathname += '/';
  return url;
}

function sleep(ms: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      signal?.removeEventListener('abort', onAbort);
      resolve();
    }, ms);
    const onAbort = () => {
      clearTimeout(timer);
      reject(signal?.reason);
    };
    signal?.addEventListener('abort', onAbort, { once: true });
  });
}
