/**
 * @file Requests for files at URLs: what an answer to a range may be, whether it is still the same file, and when to ask again. It
 * must not know what is done with the bytes. No length that a server announces is believed, except the total of a
 * Content-Range: a Content-Length counts compressed bytes when the body is compressed, and a page of another site cannot
 * see whether it is.
 */
import { CorruptCheckpointError, SourceError } from '../errors.ts';
import {
  checkResponse,
  type ExplainRefusal,
  findHiddenAnswer,
  noAnswer,
  reason,
  shownUrl,
  TemporaryError,
} from './http.ts';
import { createRetries, createWatch, type Retries } from './patience.ts';
import { type ByteRange, type Cursor, createCursor, type ReadOptions } from './source.ts';

export interface RequestOptions {
  /** Sent with every request. fetch itself drops `Authorization` when it is redirected to another origin. */
  headers?: Readonly<Record<string, string>> | undefined;
  explain?: ExplainRefusal | undefined;
  /** Milliseconds before the first retry; doubles with each further one. 500 when not given. */
  retryDelay?: number | undefined;
  /** Milliseconds without a byte after which a connection counts as broken. 30,000 when not given. */
  maxSilence?: number | undefined;
}

export interface Answer {
  cursor: Cursor;
  /** The body is the whole file, although a range was asked for. */
  isWhole: boolean;
  /** Size of the file, where a Content-Range tells. */
  size: number | undefined;
  etag: string | undefined;
}

/** All requests of one reader: what one of them shows of a server or a file holds for those after it. */
export class UrlRequests {
  readonly #headers: Readonly<Record<string, string>> | undefined;
  readonly #explain: ExplainRefusal | undefined;
  readonly #retryDelay: number;
  readonly #maxSilence: number;
  readonly #versions = new Map<string, string>();
  #hasAnswered = false;
  #hasAnsweredRange = false;

  constructor({ headers, explain, retryDelay = 500, maxSilence = 30_000 }: RequestOptions) {
    this.#headers = headers;
    this.#explain = explain;
    this.#retryDelay = retryDelay;
    this.#maxSilence = maxSilence;
  }

  /** The server has answered something. */
  get hasAnswered(): boolean {
    return this.#hasAnswered;
  }

  /** The server is known to send parts of files. */
  get hasAnsweredRange(): boolean {
    return this.#hasAnsweredRange;
  }

  retries({ signal }: ReadOptions): Retries {
    return createRetries(this.#retryDelay, () => this.#hasAnswered, signal);
  }

  /** One request. Undefined: there is no such file. */
  async request(
    url: URL,
    range: ByteRange | undefined,
    { signal }: ReadOptions,
  ): Promise<Answer | undefined> {
    const watch = createWatch(this.#maxSilence, signal);
    let cursor: Cursor | undefined;
    const close = async () => {
      watch.end();
      await cursor?.close();
    };
    try {
      const response = await watch
        .during(() => this.#fetch(url, range, watch.signal))
        .catch((error) => {
          signal?.throwIfAborted();
          throw error instanceof TemporaryError ? error : noAnswer(url, error);
        });
      this.#hasAnswered = true;
      if (response.status === 206) this.#hasAnsweredRange = true;
      const begin = range && response.status === 206 ? range.begin : 0;
      const body = createCursor(response.body ?? new Blob().stream(), begin, watch.during);
      cursor = body;
      const size = checkResponse(response, url, range, this.#explain);
      if (size !== 'missing') {
        return {
          size,
          etag: this.#checkUnchanged(url, response, size),
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

  /** An answer to a range request that may hold bytes up to `end`. */
  async requestRange(url: URL, range: ByteRange, end: number, options: ReadOptions): Promise<Answer> {
    const answer = await this.request(url, range, options);
    if (!answer) {
      throw new SourceError(
        `${shownUrl(url)}: there is no such file. Is every file of the checkpoint there?`,
      );
    }
    if (answer.size === undefined || answer.size >= end) return answer;
    await answer.cursor.close();
    throw truncated(url, answer.size, end);
  }

  async #fetch(url: URL, range: ByteRange | undefined, signal: AbortSignal): Promise<Response> {
    const headers = { ...this.#headers };
    const ranged = range ? { ...headers, Range: `bytes=${range.begin}-${range.end - 1}` } : headers;
    try {
      return await fetch(url, { headers: ranged, signal });
    } catch (error) {
      if (range && this.#hasAnswered && !this.#hasAnsweredRange) {
        // Some servers cannot be asked for ranges at all: they compress the answer although a browser then forbids it,
        // or do not allow pages of other sites to send the header.
        const whole = await fetch(url, { headers, signal }).catch(() => undefined);
        if (whole) return whole;
      }
      throw (await findHiddenAnswer(url, signal)) ?? noAnswer(url, error);
    }
  }

  /** Sizes and strong ETags must stay what they were. Other encodings of the same file have ETags of their own. */
  #checkUnchanged(url: URL, { headers }: Response, size: number | undefined): string | undefined {
    const found = headers.get('etag');
    const isTelling = found !== null && !found.startsWith('W/') && !headers.has('content-encoding');
    const etag = isTelling ? found : undefined;
    this.#checkSame(url, 'size', size?.toString());
    this.#checkSame(url, 'ETag', etag);
    return etag;
  }

  #checkSame(url: URL, what: 'size' | 'ETag', now: string | undefined): void {
    if (now === undefined) return;
    const key = `${url.href} ${what}`;
    const before = this.#versions.get(key) ?? now;
    this.#versions.set(key, now);
    if (before === now) return;
    const change =
      what === 'size' ? `had ${before} bytes and now has ${now}` : 'has another ETag than before';
    throw new SourceError(
      `${shownUrl(url)}: the file ${change}: it changed while it was read. Load it again.`,
    );
  }
}

export function truncated(url: URL, size: number, end: number): CorruptCheckpointError {
  return new CorruptCheckpointError(
    `${shownUrl(url)}: the file ends at byte ${size}, wanted bytes up to ${end}: it is truncated. Upload it again there, ` +
      'or load the checkpoint from elsewhere.',
  );
}

/** Some bytes of an answer; a connection that breaks meanwhile is a TemporaryError. */
export async function readAnswer(
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
