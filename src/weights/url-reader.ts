/**
 * @file Files at URLs, read with fetch and HTTP Range requests, several at once, with retries. It must not know what is in
 * the files or how their addresses come about. No length that a server announces is believed, except the total of a
 * Content-Range: a Content-Length counts compressed bytes when the body is compressed, and a page of another site cannot
 * see whether it is.
 */
import { CorruptCheckpointError, SourceError } from '../errors.ts';
import {
  checkResponse,
  type ExplainRefusal,
  findHiddenAnswer,
  HiddenAnswerError,
  noAnswer,
  reason,
  shownUrl,
  TemporaryError,
} from './http.ts';
import { createRetries, createWatch } from './patience.ts';
import { createRangeWindow, type RangeWindow } from './range-window.ts';
import {
  type ByteRange,
  type Cursor,
  checkFileSize,
  concatenate,
  createCursor,
  type FileStart,
  type RangeReader,
  type ReadOptions,
  streamRanges,
} from './source.ts';

export interface UrlReaderOptions {
  /** Sent with every request. fetch itself drops `Authorization` when it is redirected to another origin. */
  headers?: Readonly<Record<string, string>> | undefined;
  explain?: ExplainRefusal | undefined;
  /** Milliseconds before the first retry; doubles with each further one. 500 when not given. */
  retryDelay?: number | undefined;
  /** Milliseconds without a byte after which a connection counts as broken. 30,000 when not given. */
  maxSilence?: number | undefined;
  /** Bytes of one range request of many. 4 MiB when not given. */
  pieceBytes?: number | undefined;
}

/** What `Source` does with names, for URLs. */
export interface UrlReader {
  readFile(url: URL, maxBytes: number, options: ReadOptions): Promise<Uint8Array | undefined>;
  readStart(url: URL, maxBytes: number, options: ReadOptions): Promise<FileStart | undefined>;
  stream(url: URL, ranges: readonly ByteRange[], options: ReadOptions): AsyncIterable<Uint8Array>;
}

/**
 * Small, since Node's fetch leaves up to some 100 MiB of garbage behind, depending on when it is collected, which must stay within
 * the bound on loading's heap together with the pieces.
 */
const PIECE_BYTES = 4 * 1024 * 1024;
/** Fewer than the six connections that browsers open to a server, so that other requests get through. */
const NUM_PIECES = 4;

interface Answer {
  cursor: Cursor;
  /** The body is the whole file, although a range was asked for. */
  isWhole: boolean;
  /** Size of the file, where a Content-Range tells. */
  size: number | undefined;
  etag: string | undefined;
}

/** A range request was answered with the whole file. */
class WholeFileError extends SourceError {}

export function createUrlReader(settings: UrlReaderOptions): UrlReader {
  const { headers, explain, retryDelay = 500, maxSilence = 30_000, pieceBytes = PIECE_BYTES } = settings;
  const versions = new Map<string, string>();
  let hasAnswered = false;
  let hasAnsweredRange = false;

  async function fetchResponse(
    url: URL,
    range: ByteRange | undefined,
    signal: AbortSignal,
  ): Promise<Response> {
    const ranged = range ? { ...headers, Range: `bytes=${range.begin}-${range.end - 1}` } : { ...headers };
    try {
      return await fetch(url, { headers: ranged, signal });
    } catch (error) {
      if (range && hasAnswered && !hasAnsweredRange) {
        // Some servers cannot be asked for ranges at all: they compress the answer although a browser then forbids it,
        // or do not allow pages of other sites to send the header.
        const whole = await fetch(url, { headers: { ...headers }, signal }).catch(() => undefined);
        if (whole) return whole;
      }
      throw (await findHiddenAnswer(url, signal)) ?? noAnswer(url, error);
    }
  }

  /** One request. Undefined: there is no such file. */
  async function request(
    url: URL,
    range: ByteRange | undefined,
    { signal }: ReadOptions,
  ): Promise<Answer | undefined> {
    const watch = createWatch(maxSilence, signal);
    let cursor: Cursor | undefined;
    const close = async () => {
      watch.end();
      await cursor?.close();
    };
    try {
      const response = await watch
        .during(() => fetchResponse(url, range, watch.signal))
        .catch((error) => {
          signal?.throwIfAborted();
          throw error instanceof TemporaryError ? error : noAnswer(url, error);
        });
      hasAnswered = true;
      if (response.status === 206) hasAnsweredRange = true;
      const begin = range && response.status === 206 ? range.begin : 0;
      const body = createCursor(response.body ?? new Blob().stream(), begin, watch.during);
      cursor = body;
      const size = checkResponse(response, url, range, explain);
      if (size !== 'missing') {
        return {
          size,
          etag: checkUnchanged(url, response, size),
          isWhole: response.status === 200,
          cursor: {
            get position() {
              return body.position;
            },
            next: body.next,
            close,
          },
        };
      }
    } catch (error) {
      await close();
      throw error;
    }
    await close();
    return undefined;
  }

  /** Sizes and strong ETags must stay what they were. Other encodings of the same file have ETags of their own. */
  function checkUnchanged(url: URL, { headers }: Response, size: number | undefined): string | undefined {
    const found = headers.get('etag');
    const isTelling = found !== null && !found.startsWith('W/') && !headers.has('content-encoding');
    const etag = isTelling ? found : undefined;
    checkSame(url, 'size', size?.toString());
    checkSame(url, 'ETag', etag);
    return etag;
  }

  function checkSame(url: URL, what: 'size' | 'ETag', now: string | undefined): void {
    if (now === undefined) return;
    const key = `${url.href} ${what}`;
    const before = versions.get(key) ?? now;
    versions.set(key, now);
    if (before === now) return;
    const change =
      what === 'size' ? `had ${before} bytes and now has ${now}` : 'has another ETag than before';
    throw new SourceError(
      `${shownUrl(url)}: the file ${change}: it changed while it was read. Load it again.`,
    );
  }

  const retriesFor = ({ signal }: ReadOptions) => createRetries(retryDelay, () => hasAnswered, signal);

  /** Up to `maxBytes` bytes from the beginning; after a break, from where it stopped. */
  async function readBeginning(
    url: URL,
    maxBytes: number,
    isRanged: boolean,
    options: ReadOptions,
  ): Promise<FileStart | undefined> {
    const retries = retriesFor(options);
    const chunks: Uint8Array[] = [];
    let length = 0;

    /** Reads one answer to its end. False: there is more to come. */
    async function readAnswer(answer: Answer): Promise<boolean> {
      while (length < maxBytes) {
        const chunk = await read(url, options, answer.cursor, length, maxBytes);
        if (!chunk) break;
        chunks.push(chunk.slice());
        length += chunk.length;
        retries.progressed();
      }
      return length >= Math.min(maxBytes, answer.size ?? length);
    }

    for (;;) {
      let answer: Answer | undefined;
      try {
        const range = isRanged || length > 0 ? { begin: length, end: maxBytes } : undefined;
        answer = await request(url, range, options);
        if (!answer) return undefined;
        const before = length;
        const isDone = await readAnswer(answer).finally(answer.cursor.close);
        const size = answer.size ?? (answer.isWhole && length < maxBytes ? length : undefined);
        if (isDone) return { bytes: concatenate(chunks), size, etag: answer.etag };
        if (length === before)
          throw new TemporaryError(`${shownUrl(url)}: nothing came after byte ${length}.`);
      } catch (error) {
        try {
          await retries.failed(error);
        } catch (final) {
          // As far as can be seen, the file is not there.
          if (hasAnswered && final instanceof HiddenAnswerError) return undefined;
          throw final;
        }
      }
    }
  }

  /** An answer to a range request that may hold bytes up to `end`. */
  async function requestRange(
    url: URL,
    range: ByteRange,
    end: number,
    options: ReadOptions,
  ): Promise<Answer> {
    const answer = await request(url, range, options);
    if (!answer) {
      throw new SourceError(
        `${shownUrl(url)}: there is no such file. Is every file of the checkpoint there?`,
      );
    }
    if (answer.size === undefined || answer.size >= end) return answer;
    await answer.cursor.close();
    throw truncated(url, answer.size, end);
  }

  /** Gives all bytes of a range, asking again from where an answer stopped. */
  async function fetchRange(
    url: URL,
    range: ByteRange,
    take: (bytes: Uint8Array) => void,
    options: ReadOptions,
  ): Promise<void> {
    const retries = retriesFor(options);
    let position = range.begin;

    async function takeAnswer(answer: Answer): Promise<void> {
      if (answer.isWhole) throw new WholeFileError(`${shownUrl(url)}: the server sends no part of the file.`);
      const begin = position;
      while (position < range.end) {
        const chunk = await read(url, options, answer.cursor, position, range.end);
        if (!chunk) break;
        position += chunk.length;
        take(chunk);
        retries.progressed();
      }
      // Too short an answer may be one of several; one without a single byte means that the file is over.
      if (position === begin) throw truncated(url, position, range.end);
    }

    while (position < range.end) {
      try {
        const rest = { begin: position, end: range.end };
        const answer = await requestRange(url, rest, range.end, options);
        await takeAnswer(answer).finally(answer.cursor.close);
      } catch (error) {
        await retries.failed(error);
      }
    }
  }

  /** Reads many pieces at once from a server that is known to send parts; else one answer, as long as it lasts. */
  function createRangeReader(url: URL, options: ReadOptions): RangeReader {
    const retries = retriesFor(options);
    let sendsWhole = false;
    let window: RangeWindow | undefined;
    let windowEnd = 0;
    let answer: Answer | undefined;
    let answerBegin = 0;
    let answerEnd = 0;

    async function close(): Promise<void> {
      await Promise.all([answer?.cursor.close(), window?.close()]);
      answer = undefined;
      window = undefined;
    }

    /** Undefined: the server sends only the whole file after all. */
    async function nextOfWindow(range: ByteRange, groupEnd: number): Promise<Uint8Array | undefined> {
      if (windowEnd !== groupEnd) await close();
      windowEnd = groupEnd;
      window ??= createRangeWindow(
        { begin: range.begin, end: groupEnd },
        pieceBytes,
        NUM_PIECES,
        (piece, take, signal) => fetchRange(url, piece, take, { signal }),
        options.signal,
      );
      try {
        return await window.next(range);
      } catch (error) {
        await close();
        if (!(error instanceof WholeFileError)) throw error;
        sendsWhole = true;
        return undefined;
      }
    }

    /** Undefined: the answer is over. */
    async function nextOfAnswer(range: ByteRange, groupEnd: number): Promise<Uint8Array | undefined> {
      if (!answer) {
        answerBegin = range.begin;
        answerEnd = sendsWhole ? groupEnd : Math.min(groupEnd, range.begin + pieceBytes);
        answer = await requestRange(url, { begin: answerBegin, end: answerEnd }, groupEnd, options);
        if (answer.isWhole) answerEnd = Number.POSITIVE_INFINITY;
      }
      const { cursor } = answer;
      const chunk = await read(url, options, cursor, range.begin, Math.min(range.end, answerEnd));
      if (!chunk && range.begin === answerBegin) throw truncated(url, cursor.position, groupEnd);
      if (!chunk) await close();
      return chunk;
    }

    return {
      async next(range, groupEnd) {
        for (;;) {
          if (answer && range.begin >= answerEnd) await close();
          let chunk: Uint8Array | undefined;
          if (!answer && hasAnsweredRange && !sendsWhole) chunk = await nextOfWindow(range, groupEnd);
          else {
            try {
              chunk = await nextOfAnswer(range, groupEnd);
              if (chunk) retries.progressed();
            } catch (error) {
              await close();
              await retries.failed(error);
            }
          }
          if (chunk) return chunk;
        }
      },
      close,
    };
  }

  return {
    async readFile(url, maxBytes, options) {
      const start = await readBeginning(url, maxBytes + 1, false, options);
      if (start) checkFileSize(start.bytes.length, maxBytes, shownUrl(url));
      return start?.bytes;
    },
    readStart: (url, maxBytes, options) => readBeginning(url, maxBytes, true, options),
    stream: (url, ranges, options) => streamRanges(ranges, createRangeReader(url, options), options),
  };
}

function truncated(url: URL, size: number, end: number): CorruptCheckpointError {
  return new CorruptCheckpointError(
    `${shownUrl(url)}: the file ends at byte ${size}, wanted bytes up to ${end}: it is truncated. Upload it again there, ` +
      'or load the checkpoint from elsewhere.',
  );
}

/** Some bytes of an answer; a connection that breaks meanwhile is a TemporaryError. */
async function read(
  url: URL,
  { signal }: ReadOptions,
  cursor: Cursor,
  begin: number,
  end: number,
): Promise<Uint8Array | undefined> {
  try {
    return await cursor.next(begin, end);
  } catch (error) {
    signal?.throwIfAborted();
    throw new TemporaryError(
      `${shownUrl(url)}: the connection broke at byte ${cursor.position} (${reason(error)}). Is the network up?`,
    );
  }
}
