/**
 * @file A checkpoint at a URL, read with fetch and HTTP Range requests, with retries. It must not know what is in the
 * files. No length that a server announces is believed, except the total of a Content-Range: a Content-Length counts
 * compressed bytes when the body is compressed, and a page of another site cannot see whether it is.
 */
import { CorruptCheckpointError, InvalidInputError, SourceError } from '../errors.ts';
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
/** A site that never answered is more likely wrong, or closed to this page, than busy: say so soon. */
const MAX_RETRIES_BEFORE_FIRST_ANSWER = 1;
const MAX_RETRY_AFTER_MS = 60_000;

/** A failure that another try may get over. */
class TemporaryError extends SourceError {
  readonly retryAfterMs: number;
  constructor(message: string, retryAfterMs = 0) {
    super(message);
    this.retryAfterMs = retryAfterMs;
  }
}

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

  function fileUrl(name: string): URL {
    checkName(name, shownUrl(folder));
    const url = new URL(folder);
    url.pathname += name.split('/').map(encodeURIComponent).join('/');
    return url;
  }

  /** One request. Undefined: there is no such file. */
  async function request(
    url: URL,
    range: ByteRange | undefined,
    options: ReadOptions,
  ): Promise<Answer | undefined> {
    const { signal } = options;
    const headers: HeadersInit = range ? { Range: `bytes=${range.begin}-${range.end - 1}` } : {};
    let response: Response;
    try {
      response = await fetch(url, { headers, signal: signal ?? null });
    } catch (error) {
      signal?.throwIfAborted();
      throw new TemporaryError(`${shownUrl(url)}: no answer (${reason(error)}). ${connectionHint()}`);
    }
    hasAnswered = true;
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
        if (numFailures >= (hasAnswered ? MAX_RETRIES : MAX_RETRIES_BEFORE_FIRST_ANSWER)) {
          throw new SourceError(`${error.message} Gave up after ${numFailures + 1} tries.`);
        }
        await sleep(Math.max(error.retryAfterMs, retryDelay * 2 ** numFailures), signal);
        numFailures += 1;
      },
    };
  }

  async function withRetries<T>(options: ReadOptions, attempt: () => Promise<T>): Promise<T> {
    const retries = createRetries(options);
    for (;;) {
      try {
        return await attempt();
      } catch (error) {
        await retries.failed(error);
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

/**
 * Size of the file where the answer tells it, or 'missing' when there is no such file.
 * @throws SourceError for every answer that holds neither the file nor the range
 */
function checkResponse(
  response: Response,
  url: URL,
  range: ByteRange | undefined,
): number | undefined | 'missing' {
  const { status } = response;
  const where = shownUrl(url);
  if (status === 404 || status === 410) return 'missing';
  // Servers of single-page apps answer every unknown path with their page.
  if (response.ok && response.headers.get('content-type')?.startsWith('text/html')) return 'missing';
  if (status === 200) return undefined;

  // Pages of other sites see Content-Range only if the server exposes it; without it the status has to do.
  const contentRange = /^bytes (?:(\d+)-\d+|\*)\/(\d+|\*)$/.exec(response.headers.get('content-range') ?? '');
  const size = contentRange && contentRange[2] !== '*' ? Number(contentRange[2]) : undefined;
  if (range && status === 416 && size !== undefined && size <= range.begin) return size;
  if (range && status === 206) {
    const encoding = response.headers.get('content-encoding') ?? 'identity';
    if (encoding !== 'identity') {
      throw new SourceError(
        `${where}: the server sent a byte range compressed (${encoding}). Turn compression off for this file.`,
      );
    }
    if (contentRange && Number(contentRange[1]) !== range.begin) {
      throw new SourceError(
        `${where}: asked for bytes from ${range.begin}, and the server sent "${contentRange[0]}". It does not serve ` +
          'byte ranges correctly: use another server.',
      );
    }
    return size;
  }
  const found = `${where}: the server answered ${status} ${response.statusText}`.trimEnd();
  if (status === 408 || status === 425 || status === 429 || status >= 500) {
    throw new TemporaryError(`${found}. It is busy or has a fault: try again later.`, retryAfter(response));
  }
  throw new SourceError(`${found}. ${statusHint(status)}`);
}

function statusHint(status: number): string {
  if (status === 401 || status === 403) {
    return 'The checkpoint is private or gated, or the link has expired (some stores also answer this for a file that is not there).';
  }
  return 'Open this address in a browser to see what it says.';
}

function retryAfter(response: Response): number {
  const value = response.headers.get('retry-after');
  if (value === null) return 0;
  const ms = /^\d+$/.test(value) ? Number(value) * 1000 : Date.parse(value) - Date.now();
  return Math.min(Math.max(ms || 0, 0), MAX_RETRY_AFTER_MS);
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
      `${shownUrl(url)}: the connection broke at byte ${cursor.position} (${reason(error)}). ${connectionHint()}`,
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

/** A URL as messages show it: without what may be secret. */
function shownUrl(url: URL): string {
  return `${url.protocol}//${url.host}${url.pathname}${url.search === '' ? '' : '?…'}`;
}

/** What fetch says of a failure; Node keeps the telling part in `cause`. */
function reason(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return error.cause instanceof Error ? `${error.message}: ${error.cause.message}` : error.message;
}

function connectionHint(): string {
  return globalThis.location === undefined
    ? 'Is the address right and the network up?'
    : 'Is the address right and the network up? If this page is on another site, the server must allow it: CORS header ' +
        'Access-Control-Allow-Origin, and Content-Range in Access-Control-Expose-Headers.';
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
