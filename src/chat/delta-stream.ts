/** @file A reply that comes as deltas: run once, whether its deltas are iterated or only the result is awaited. */
import type { ChatDelta, ChatResult, ChatStream } from './types.ts';

export class DeltaStream implements ChatStream {
  readonly result: Promise<ChatResult>;
  readonly #settled: Promise<void>;
  readonly #abandon = new AbortController();
  readonly #queue: ChatDelta[] = [];
  #isDone = false;
  #wake = (): void => {};

  /** @param run makes the reply, and gives deltas as they come */
  constructor(
    run: (give: (deltas: readonly ChatDelta[]) => void, signal: AbortSignal) => Promise<ChatResult>,
    signal: AbortSignal | undefined,
  ) {
    const abandoned = this.#abandon.signal;
    const give = (deltas: readonly ChatDelta[]): void => {
      this.#queue.push(...deltas);
      this.#wake();
    };
    this.result = run(give, signal ? AbortSignal.any([signal, abandoned]) : abandoned);
    this.#settled = this.result.then(
      () => {},
      () => {},
    );
    void this.#settled.then(() => {
      this.#isDone = true;
      this.#wake();
    });
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<ChatDelta, void> {
    try {
      while (this.#queue.length > 0 || !this.#isDone) {
        const delta = this.#queue.shift();
        if (delta) yield delta;
        else {
          await new Promise<void>((resolve) => {
            this.#wake = resolve;
          });
        }
      }
      await this.result;
    } finally {
      // A caller that stops listening does not want the rest.
      if (!this.#isDone) this.#abandon.abort();
      await this.#settled;
    }
  }
}
