/** @file An answer that is read while it is written, and that ends when its reader stops. */

/** Chunks as they come. Iterate once; leaving the loop, or aborting `controller`, ends the generation. */
export interface CompletionStream<Chunk> extends AsyncIterable<Chunk> {
  readonly controller: AbortController;
}

/**
 * Begins to answer: errors of the request are thrown here, not while the stream is read. A stream that is aborted just ends.
 * Without `hasUsage` the last chunk, which has no choices, is left out.
 */
export async function openStream<Chunk extends { choices: unknown[] }>(
  ask: (signal: AbortSignal) => AsyncIterable<Chunk>,
  outer: AbortSignal | undefined,
  hasUsage: boolean,
): Promise<CompletionStream<Chunk>> {
  const controller = new AbortController();
  const { signal } = controller;
  const stop = (): void => controller.abort(outer?.reason);
  if (outer?.aborted) stop();
  outer?.addEventListener('abort', stop, { once: true });
  const release = (): void => outer?.removeEventListener('abort', stop);
  const chunks = ask(signal)[Symbol.asyncIterator]();
  let next: IteratorResult<Chunk>;
  try {
    next = await chunks.next();
  } catch (error) {
    release();
    throw error;
  }
  return {
    controller,
    async *[Symbol.asyncIterator]() {
      try {
        for (; !next.done; next = await chunks.next()) {
          const chunk = next.value;
          const isLast = chunk.choices.length === 0;
          if (!hasUsage && !isLast) yield chunk;
          if (hasUsage) yield isLast ? chunk : { ...chunk, usage: null };
        }
      } catch (error) {
        // The caller who aborted knows it.
        if (!signal.aborted) throw error;
      } finally {
        release();
        if (!next.done) controller.abort();
        await chunks.return?.();
      }
    },
  };
}
