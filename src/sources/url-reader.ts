/**
 * @file Files at URLs, read with fetch and HTTP Range requests, several at once, with retries. It must not know what is in
 * the files or how their addresses come about.
 */
import { HiddenAnswerError, shownUrl, TemporaryError } from './http.ts';
import {
  type ByteRange,
  checkFileSize,
  concatenate,
  type FileStart,
  type ReadOptions,
  streamRanges,
} from './source.ts';
import { UrlRanges } from './url-ranges.ts';
import { type Answer, type RequestOptions, readAnswer, UrlRequests } from './url-requests.ts';

export interface UrlReaderOptions extends RequestOptions {
  /** Bytes of one range request of many. 4 MiB when not given. */
  pieceBytes?: number | undefined;
}

/**
 * Small, since Node's fetch leaves up to some 100 MiB of garbage behind, depending on when it is collected, which must stay within
 * the bound on loading's heap together with the pieces.
 */
const PIECE_BYTES = 4 * 1024 * 1024;

/** What `Source` does with names, for URLs. */
export class UrlReader {
  readonly #requests: UrlRequests;
  readonly #pieceBytes: number;

  constructor({ pieceBytes = PIECE_BYTES, ...options }: UrlReaderOptions) {
    this.#requests = new UrlRequests(options);
    this.#pieceBytes = pieceBytes;
  }

  async readFile(url: URL, maxBytes: number, options: ReadOptions): Promise<Uint8Array | undefined> {
    const start = await this.#readBeginning(url, maxBytes + 1, false, options);
    if (start) checkFileSize(start.bytes.length, maxBytes, shownUrl(url));
    return start?.bytes;
  }

  readStart(url: URL, maxBytes: number, options: ReadOptions): Promise<FileStart | undefined> {
    return this.#readBeginning(url, maxBytes, true, options);
  }

  stream(url: URL, ranges: readonly ByteRange[], options: ReadOptions): AsyncIterable<Uint8Array> {
    return streamRanges(ranges, new UrlRanges(this.#requests, url, this.#pieceBytes, options), options);
  }

  /** Up to `maxBytes` bytes from the beginning; after a break, from where it stopped. */
  async #readBeginning(
    url: URL,
    maxBytes: number,
    isRanged: boolean,
    options: ReadOptions,
  ): Promise<FileStart | undefined> {
    const requests = this.#requests;
    const retries = requests.retries(options);
    const chunks: Uint8Array[] = [];
    let length = 0;

    /** Reads one answer to its end. False: there is more to come. */
    async function readAll(answer: Answer): Promise<boolean> {
      while (length < maxBytes) {
        const chunk = await readAnswer(url, options, answer.cursor, length, maxBytes);
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
        answer = await requests.request(url, range, options);
        if (!answer) return undefined;
        const before = length;
        const isDone = await readAll(answer).finally(answer.cursor.close);
        const size = answer.size ?? (answer.isWhole && length < maxBytes ? length : undefined);
        if (isDone) return { bytes: concatenate(chunks), size, etag: answer.etag };
        if (length === before)
          throw new TemporaryError(`${shownUrl(url)}: nothing came after byte ${length}.`);
      } catch (error) {
        try {
          await retries.failed(error);
        } catch (final) {
          // As far as can be seen, the file is not there.
          if (requests.hasAnswered && final instanceof HiddenAnswerError) return undefined;
          throw final;
        }
      }
    }
  }
}
