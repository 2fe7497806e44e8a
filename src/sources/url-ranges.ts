/**
 * @file The ranges of one file at a URL, in order: many pieces at once from a server that sends parts of files, else one answer as
 * long as it lasts. It must not know what is in the file.
 */
import { SourceError } from '../errors.ts';
import { shownUrl } from './http.ts';
import type { Retries } from './patience.ts';
import { createRangeWindow, type RangeWindow } from './range-window.ts';
import type { ByteRange, RangeReader, ReadOptions } from './source.ts';
import { type Answer, readAnswer, truncated, type UrlRequests } from './url-requests.ts';

/** Fewer than the six connections that browsers open to a server, so that other requests get through. */
const NUM_PIECES = 4;

/** A range request was answered with the whole file. */
class WholeFileError extends SourceError {}

export class UrlRanges implements RangeReader {
  readonly #requests: UrlRequests;
  readonly #url: URL;
  readonly #pieceBytes: number;
  readonly #options: ReadOptions;
  readonly #retries: Retries;
  #sendsWhole = false;
  #window: RangeWindow | undefined;
  #windowEnd = 0;
  #answer: Answer | undefined;
  #answerBegin = 0;
  #answerEnd = 0;

  /** @param pieceBytes bytes of one range request of many */
  constructor(requests: UrlRequests, url: URL, pieceBytes: number, options: ReadOptions) {
    this.#requests = requests;
    this.#url = url;
    this.#pieceBytes = pieceBytes;
    this.#options = options;
    this.#retries = requests.retries(options);
  }

  async next(range: ByteRange, groupEnd: number): Promise<Uint8Array> {
    for (;;) {
      if (this.#answer && range.begin >= this.#answerEnd) await this.close();
      let chunk: Uint8Array | undefined;
      if (!this.#answer && this.#requests.hasAnsweredRange && !this.#sendsWhole) {
        chunk = await this.#nextOfWindow(range, groupEnd);
      } else {
        try {
          chunk = await this.#nextOfAnswer(range, groupEnd);
          if (chunk) this.#retries.progressed();
        } catch (error) {
          await this.close();
          await this.#retries.failed(error);
        }
      }
      if (chunk) return chunk;
    }
  }

  async close(): Promise<void> {
    await Promise.all([this.#answer?.cursor.close(), this.#window?.close()]);
    this.#answer = undefined;
    this.#window = undefined;
  }

  /** Undefined: the server sends only the whole file after all. */
  async #nextOfWindow(range: ByteRange, groupEnd: number): Promise<Uint8Array | undefined> {
    if (this.#windowEnd !== groupEnd) await this.close();
    this.#windowEnd = groupEnd;
    this.#window ??= createRangeWindow(
      { begin: range.begin, end: groupEnd },
      this.#pieceBytes,
      NUM_PIECES,
      (piece, take, signal) => this.#fetchPiece(piece, take, { signal }),
      this.#options.signal,
    );
    try {
      return await this.#window.next(range);
    } catch (error) {
      await this.close();
      if (!(error instanceof WholeFileError)) throw error;
      this.#sendsWhole = true;
      return undefined;
    }
  }

  /** Undefined: the answer is over. */
  async #nextOfAnswer(range: ByteRange, groupEnd: number): Promise<Uint8Array | undefined> {
    if (!this.#answer) {
      this.#answerBegin = range.begin;
      this.#answerEnd = this.#sendsWhole ? groupEnd : Math.min(groupEnd, range.begin + this.#pieceBytes);
      const wanted = { begin: this.#answerBegin, end: this.#answerEnd };
      this.#answer = await this.#requests.requestRange(this.#url, wanted, groupEnd, this.#options);
      if (this.#answer.isWhole) this.#answerEnd = Number.POSITIVE_INFINITY;
    }
    const { cursor } = this.#answer;
    const end = Math.min(range.end, this.#answerEnd);
    const chunk = await readAnswer(this.#url, this.#options, cursor, range.begin, end);
    if (!chunk && range.begin === this.#answerBegin) throw truncated(this.#url, cursor.position, groupEnd);
    if (!chunk) await this.close();
    return chunk;
  }

  /** Gives all bytes of a range, asking again from where an answer stopped. */
  async #fetchPiece(
    range: ByteRange,
    take: (bytes: Uint8Array) => void,
    options: ReadOptions,
  ): Promise<void> {
    const retries = this.#requests.retries(options);
    let position = range.begin;
    const takeChunk = (chunk: Uint8Array): void => {
      position += chunk.length;
      take(chunk);
      retries.progressed();
    };
    while (position < range.end) {
      try {
        const rest = { begin: position, end: range.end };
        const answer = await this.#requests.requestRange(this.#url, rest, range.end, options);
        await this.#takeAnswer(answer, rest, takeChunk, options).finally(answer.cursor.close);
      } catch (error) {
        await retries.failed(error);
      }
    }
  }

  async #takeAnswer(
    { cursor, isWhole }: Answer,
    { begin, end }: ByteRange,
    take: (bytes: Uint8Array) => void,
    options: ReadOptions,
  ): Promise<void> {
    if (isWhole) throw new WholeFileError(`${shownUrl(this.#url)}: the server sends no part of the file.`);
    let position = begin;
    while (position < end) {
      const chunk = await readAnswer(this.#url, options, cursor, position, end);
      if (!chunk) break;
      position += chunk.length;
      take(chunk);
    }
    // Too short an answer may be one of several; one without a single byte means that the file is over.
    if (position === begin) throw truncated(this.#url, position, end);
  }
}
