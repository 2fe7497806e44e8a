/**
 * @file When to ask a server again, and when its silence counts as a broken connection. It must not know what is asked
 * for.
 */
import { SourceError } from '../errors.ts';
import { HiddenAnswerError, TemporaryError } from './http.ts';

/** Retries in a row without a new byte before giving up. */
const MAX_RETRIES = 4;
/** Where a failure is more likely final: a site that never answered, an answer that this page may not see. */
const MAX_DOUBTFUL_RETRIES = 1;

export interface Retries {
  /** A new byte came: what failed before no longer counts. */
  progressed(): void;
  /** Waits before another try. @throws the failure when it is final, the signal's reason when that comes first */
  failed(error: unknown): Promise<void>;
}

/**
 * Waits twice as long after each failure in a row, and at least as long as the server wishes.
 * @param retryDelay milliseconds before the first retry
 * @param hasAnswered whether the server has ever answered anything
 */
export function createRetries(
  retryDelay: number,
  hasAnswered: () => boolean,
  signal: AbortSignal | undefined,
): Retries {
  let numFailures = 0;
  return {
    progressed() {
      numFailures = 0;
    },
    async failed(error) {
      signal?.throwIfAborted();
      if (!(error instanceof TemporaryError)) throw error;
      const isDoubtful = !hasAnswered() || error instanceof HiddenAnswerError;
      if (numFailures >= (isDoubtful ? MAX_DOUBTFUL_RETRIES : MAX_RETRIES)) {
        error.message += ` Gave up after ${numFailures + 1} tries.`;
        throw error;
      }
      // Spread over half of the delay: requests that failed together should not come back together.
      const delay = retryDelay * 2 ** numFailures * (0.75 + Math.random() / 2);
      numFailures += 1;
      await sleep(Math.max(error.retryAfterMs, delay), signal);
    },
  };
}

function sleep(ms: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    const onAbort = () => {
      clearTimeout(timer);
      reject(signal?.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener('abort', onAbort);
      resolve();
    }, ms);
    signal?.addEventListener('abort', onAbort, { once: true });
  });
}

/** Watches over one request and its answer. */
export interface Watch {
  /** For the request: aborted with the caller's, and when the server is silent for too long. */
  readonly signal: AbortSignal;
  /** Waits for the next sign of life. Silence makes `work`, which listens to `signal`, fail, and this throw a SourceError. */
  during<T>(work: () => Promise<T>): Promise<T>;
  /** Ends the request, wherever it is. */
  end(): void;
}

/** @param maxSilence milliseconds without a byte after which a connection counts as broken */
export function createWatch(maxSilence: number, signal: AbortSignal | undefined): Watch {
  const controller = new AbortController();
  const follow = () => controller.abort(signal?.reason);
  if (signal?.aborted) follow();
  signal?.addEventListener('abort', follow, { once: true });
  return {
    signal: controller.signal,
    async during(work) {
      let silence: SourceError | undefined;
      const timer = setTimeout(() => {
        silence = new SourceError(`nothing came for ${maxSilence / 1000} seconds`);
        controller.abort(silence);
      }, maxSilence);
      try {
        return await work();
      } catch (error) {
        throw silence ?? error; // what fetch makes of an abort's reason differs
      } finally {
        clearTimeout(timer);
      }
    },
    end() {
      signal?.removeEventListener('abort', follow);
      controller.abort();
    },
  };
}
