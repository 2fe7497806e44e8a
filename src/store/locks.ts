/** @file Locks between the users of one store: all tabs of an origin in a browser, all users in one process in Node. */

export interface LockOptions {
  mode: 'shared' | 'exclusive';
  signal?: AbortSignal | undefined;
}

export interface Locks {
  /** Waits for the lock, then runs `work` with it. */
  hold<T>(name: string, options: LockOptions, work: () => Promise<T>): Promise<T>;
  /** Runs `work` alone, if the lock is free now. */
  tryAlone(name: string, work: () => Promise<void>): Promise<boolean>;
}

/** Holds the lock of the whole store beside others: nothing is deleted from it meanwhile. */
export function holdStore<T>(
  locks: Locks,
  { signal }: Pick<LockOptions, 'signal'>,
  work: () => Promise<T>,
): Promise<T> {
  return locks.hold('store', { mode: 'shared', signal }, work);
}

/** The browser's own locks, which it releases when a tab is closed. */
export function browserLocks(prefix: string): Locks {
  return {
    hold: (name, { mode, signal }, work) =>
      // An undefined signal is an error to some browsers.
      navigator.locks.request(`${prefix}/${name}`, signal ? { mode, signal } : { mode }, work) as ReturnType<
        typeof work
      >,
    tryAlone: (name, work) =>
      navigator.locks.request(`${prefix}/${name}`, { ifAvailable: true }, async (lock) => {
        if (lock) await work();
        return lock !== null;
      }),
  };
}

interface Lock {
  numHolders: number;
  isExclusive: boolean;
  /** In the order they came. */
  waiting: { isExclusive: boolean; start: () => void }[];
}

export function processLocks(): Locks {
  const locks = new Map<string, Lock>();

  function lockOf(name: string): Lock {
    const lock = locks.get(name) ?? { numHolders: 0, isExclusive: false, waiting: [] };
    locks.set(name, lock);
    return lock;
  }

  function startNext(lock: Lock): void {
    for (let next = lock.waiting[0]; next; next = lock.waiting[0]) {
      if (lock.numHolders > 0 && (lock.isExclusive || next.isExclusive)) return;
      lock.waiting.shift();
      lock.numHolders += 1;
      lock.isExclusive = next.isExclusive;
      next.start();
    }
  }

  function acquire(lock: Lock, { mode, signal }: LockOptions): Promise<void> {
    return new Promise((resolve, reject) => {
      signal?.throwIfAborted();
      const onAbort = () => {
        lock.waiting.splice(lock.waiting.indexOf(request), 1);
        reject(signal?.reason);
        startNext(lock);
      };
      const request = {
        isExclusive: mode === 'exclusive',
        start() {
          signal?.removeEventListener('abort', onAbort);
          resolve();
        },
      };
      signal?.addEventListener('abort', onAbort, { once: true });
      lock.waiting.push(request);
      startNext(lock);
    });
  }

  async function hold<T>(name: string, options: LockOptions, work: () => Promise<T>): Promise<T> {
    const lock = lockOf(name);
    await acquire(lock, options);
    try {
      return await work();
    } finally {
      lock.numHolders -= 1;
      startNext(lock);
      if (lock.numHolders === 0) locks.delete(name);
    }
  }

  return {
    hold,
    async tryAlone(name, work) {
      if (locks.has(name)) return false;
      await hold(name, { mode: 'exclusive' }, work);
      return true;
    },
  };
}
