/** @file The calls of a page that its worker has not ended yet: their chunks in order, their ends, and how they are stopped. */
import { ApiError } from '../errors.ts';
import type { Method, ToWorker } from './messages.ts';

export interface Calls {
  /**
   * The chunks of a new call as they come. Aborting the signal, or ending the iteration, stops the worker's work on it, and waits
   * until that has stopped, so that the next call finds the model free.
   */
  open<Chunk>(method: Method, body: unknown, signal: AbortSignal | undefined): AsyncGenerator<Chunk, void>;
  /** A new call that has one chunk. */
  one<Chunk>(method: Method, body: unknown, signal: AbortSignal | undefined): Promise<Chunk>;
  take(id: number, chunk: unknown): void;
  /** @param error what the call failed with, if it failed */
  end(id: number, error: Error | undefined): void;
  /** Ends all calls now, and all later ones at once. */
  close(error: Error): void;
}

interface Call {
  chunks: unknown[];
  isOver: boolean;
  error: Error | undefined;
  wake(): void;
}

export function createCalls(send: (message: ToWorker) => void): Calls {
  const calls = new Map<number, Call>();
  let numCalls = 0;
  let closed: Error | undefined;

  function end(id: number, error: Error | undefined): void {
    const call = calls.get(id);
    if (!call) return;
    calls.delete(id);
    call.isOver = true;
    call.error = error;
    call.wake();
  }

  function start(call: Call, method: Method, body: unknown): number {
    const id = numCalls++;
    try {
      send({ kind: 'call', id, method, body });
    } catch (error) {
      throw new ApiError(400, `The request holds what cannot be copied: ${(error as Error).message}`);
    }
    calls.set(id, call);
    return id;
  }

  /** Settles when something new is known of a call. */
  const news = (call: Call): Promise<void> =>
    new Promise((resolve) => {
      call.wake = resolve;
    });

  const calling: Calls = {
    async *open<Chunk>(method: Method, body: unknown, signal: AbortSignal | undefined) {
      signal?.throwIfAborted();
      if (closed) throw closed;
      const call: Call = { chunks: [], isOver: false, error: undefined, wake() {} };
      const id = start(call, method, body);
      const abort = (): void => {
        if (!call.isOver) send({ kind: 'abort', id });
      };
      signal?.addEventListener('abort', abort);
      try {
        for (let i = 0; ; i++) {
          while (i === call.chunks.length && !call.isOver) await news(call);
          if (signal?.aborted || i === call.chunks.length) break;
          yield call.chunks[i] as Chunk;
          call.chunks[i] = undefined;
        }
      } finally {
        signal?.removeEventListener('abort', abort);
        abort();
        while (!call.isOver) await news(call);
      }
      signal?.throwIfAborted();
      if (call.error) throw call.error;
    },

    async one<Chunk>(method: Method, body: unknown, signal: AbortSignal | undefined) {
      for await (const chunk of calling.open<Chunk>(method, body, signal)) return chunk;
      throw new ApiError(500, `The worker gave no answer to ${method}.`);
    },

    take(id, chunk) {
      const call = calls.get(id);
      call?.chunks.push(chunk);
      call?.wake();
    },

    end,

    close(error) {
      closed ??= error;
      for (const id of [...calls.keys()]) end(id, error);
    },
  };
  return calling;
}
