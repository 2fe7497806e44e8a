/**
 * @file Which conversation, which is a set of KV caches, a prompt runs in, and when: prompts wait in the order in which they
 * came, and start from what any conversation has of them. It must not know how a prompt runs.
 */
import type { Cache, Steps } from './steps.ts';
import type { Speculation } from './types.ts';

export interface Conversation {
  readonly steps: Steps;
  /** What a generation runs over now; it only appends to the caches. Undefined: nothing runs. */
  running: readonly number[] | undefined;
  /** Ids of the last prompt, without what was answered. */
  numPrompt: number;
  /** Counts up; the least recently used has the lowest. */
  lastUse: number;
}

export interface Taken {
  readonly conversation: Conversation;
  /** Ids of the prompt that are in its caches, and all that is. */
  readonly numCached: number;
}

export interface Conversations {
  /** Waits for a conversation; undefined when aborted before there was one. Give it back with `release`. */
  take(
    ids: readonly number[],
    options?: { numAnswered?: number | undefined; signal?: AbortSignal | undefined },
  ): Promise<Taken | undefined>;
  release(conversation: Conversation): void;
  /** To be called when a running prompt has got further: another may begin as it does. */
  progress(): void;
  /** All that wait end with an error. */
  fail(error: Error): void;
}

interface Waiting {
  readonly ids: readonly number[];
  readonly numPrompt: number;
  resolve(taken: Taken): void;
  reject(error: Error): void;
}

/**
 * Tokens at the end of a prompt that its conversation may go on without: what templates put there to begin an answer (`<think>`,
 * or a whole empty think block) is not in the history of the next prompt.
 */
const NUM_OPENING = 4;

/** @param add makes another conversation; where it has no memory for one there will be no more than there are */
export function createConversations(
  first: Steps,
  add: () => Promise<Steps>,
  { conversations, speculate }: { conversations: number; speculate?: Speculation | undefined },
): Conversations {
  const all: Conversation[] = [];
  const waiting: Waiting[] = [];
  let limit = conversations;
  let clock = 0;
  let isAdding = false;
  let failure: Error | undefined;

  const append = (steps: Steps): void => {
    all.push({ steps, running: undefined, numPrompt: 0, lastUse: 0 });
  };
  append(first);

  /** How many of a prompt's ids a conversation's caches can give. The last id is always computed: its logits are wanted. */
  function usable({ steps: { cache } }: Conversation, ids: readonly number[]): number {
    const common = commonPrefix(cache.ids, ids);
    // The module's row at a position knows the token behind it, and is made from the model's hidden state there: both anew.
    const known = speculate === 'mtp' ? Math.min(common - 1, cache.numDrafted) : common;
    return Math.max(0, Math.min(known, ids.length - 1));
  }

  /** Whether a prompt goes on where the last one of this conversation stood: all that it would overwrite was generated. */
  function isContinued({ steps, numPrompt }: Conversation, ids: readonly number[]): boolean {
    const before = Math.min(numPrompt, steps.cache.ids.length);
    return commonPrefix(steps.cache.ids, ids) >= Math.max(before - NUM_OPENING, before / 2);
  }

  /** Where a prompt is to run: `add`: in a conversation that has yet to be made. Undefined: it has to wait. */
  function choose(
    ids: readonly number[],
  ): { target: Conversation | 'add'; source: Conversation } | undefined {
    const idle = all.filter(({ running }) => !running).sort((a, b) => a.lastUse - b.lastUse);
    const source = best(all, (c) => usable(c, ids))!;
    const hasMoreSoon = all.some(({ running, steps }) => {
      const begun = running ? commonPrefix(running, ids) : 0;
      return begun > steps.cache.ids.length && begun > usable(source, ids) + 1;
    });
    if (hasMoreSoon) return undefined;
    const target =
      best(
        idle.filter((c) => isContinued(c, ids)),
        (c) => usable(c, ids),
      ) ?? (all.length < limit ? 'add' : idle[0]);
    return target && { target, source };
  }

  /** Lets those begin that can, the first first: who cannot holds up all behind. */
  function serve(): void {
    while (waiting.length > 0 && !isAdding) {
      const chosen = choose(waiting[0]!.ids);
      if (!chosen) return;
      const { target, source } = chosen;
      if (target === 'add') {
        isAdding = true;
        void addOne();
        return;
      }
      begin(waiting.shift()!, target, source);
    }
  }

  async function addOne(): Promise<void> {
    try {
      append(await add());
    } catch {
      // No memory: who asked waits like all others. Of any other fault of the device the next step tells.
      limit = all.length;
    }
    isAdding = false;
    serve();
  }

  function begin({ ids, numPrompt, resolve }: Waiting, target: Conversation, source: Conversation): void {
    const { steps } = target;
    const numCached = usable(source, ids);
    if (numCached > usable(target, ids)) {
      // What runs there writes behind these rows; and what was submitted before, the queue has done before.
      steps.copyCaches(source.steps, numCached);
      steps.cache.ids = ids.slice(0, numCached);
      steps.cache.numDrafted = Math.min(source.steps.cache.numDrafted, numCached);
    } else {
      keepCached(steps.cache, usable(target, ids));
    }
    target.running = ids;
    target.numPrompt = numPrompt;
    target.lastUse = ++clock;
    resolve({ conversation: target, numCached: steps.cache.ids.length });
  }

  return {
    async take(ids, { numAnswered = 0, signal } = {}) {
      if (failure) throw failure;
      if (signal?.aborted) return undefined;
      return await new Promise((resolve, reject) => {
        const leave = (): void => {
          waiting.splice(waiting.indexOf(one), 1);
          resolve(undefined);
          serve();
        };
        const one: Waiting = {
          ids,
          numPrompt: ids.length - numAnswered,
          resolve(taken) {
            signal?.removeEventListener('abort', leave);
            resolve(taken);
          },
          reject(error) {
            signal?.removeEventListener('abort', leave);
            reject(error);
          },
        };
        signal?.addEventListener('abort', leave, { once: true });
        waiting.push(one);
        serve();
      });
    },
    release(conversation) {
      conversation.running = undefined;
      serve();
    },
    progress: serve,
    fail(error) {
      failure = error;
      for (const { reject } of waiting.splice(0)) reject(error);
    },
  };
}

/** Forgets what is in the caches behind so many ids. */
export function keepCached(cache: Cache, numIds: number): void {
  cache.ids.length = numIds;
  cache.numDrafted = Math.min(cache.numDrafted, numIds);
}

/** The first of those with the highest score. */
function best<T>(items: readonly T[], score: (item: T) => number): T | undefined {
  return items.reduce<T | undefined>((a, b) => (a === undefined || score(b) > score(a) ? b : a), undefined);
}

function commonPrefix(a: readonly number[], b: readonly number[]): number {
  let n = 0;
  while (n < a.length && n < b.length && a[n] === b[n]) n++;
  return n;
}
