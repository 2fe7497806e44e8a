/** @file How far loading is: bytes, tensors and seconds left. Pure; it must not know where the bytes go. */

/** What `onProgress` gets. */
export interface LoadProgress {
  loadedBytes: number;
  totalBytes: number;
  loadedTensors: number;
  totalTensors: number;
  /** From the smoothed rate; undefined until there is one. */
  secondsLeft: number | undefined;
}

export interface Progress {
  addBytes(numBytes: number): void;
  addTensor(): void;
}

/** Milliseconds between two reports, so that a page is not redrawn for every chunk. */
const REPORT_INTERVAL_MS = 100;
/** Seconds after which an old rate counts for 1/e: long enough for uneven networks, short enough to follow a change. */
const RATE_MEMORY_SECONDS = 5;

/**
 * Counts what is loaded and reports it: once at the start, at most ten times a second, and when all is there.
 * @param now clock in milliseconds
 */
export function createProgress(
  totalBytes: number,
  totalTensors: number,
  onProgress?: (progress: LoadProgress) => void,
  now: () => number = () => performance.now(),
): Progress {
  let loadedBytes = 0;
  let loadedTensors = 0;
  let reportedAt = Number.NEGATIVE_INFINITY;
  const estimateSecondsLeft = createRate(now());

  function report(): void {
    const time = now();
    const isDone = loadedBytes >= totalBytes && loadedTensors >= totalTensors;
    if (!onProgress || (!isDone && time - reportedAt < REPORT_INTERVAL_MS)) return;
    reportedAt = time;
    const secondsLeft = isDone ? 0 : estimateSecondsLeft(time, loadedBytes, totalBytes);
    onProgress({ loadedBytes, totalBytes, loadedTensors, totalTensors, secondsLeft });
  }

  report();
  return {
    addBytes(numBytes) {
      loadedBytes += numBytes;
      report();
    },
    addTensor() {
      loadedTensors += 1;
      report();
    },
  };
}

/**
 * Seconds left by an exponentially weighted rate. Bytes and seconds are decayed alike before they are divided, so the
 * first estimates are plain averages and not biased by a start value.
 */
function createRate(
  start: number,
): (time: number, loadedBytes: number, totalBytes: number) => number | undefined {
  let lastTime = start;
  let lastBytes = 0;
  let recentBytes = 0;
  let recentSeconds = 0;
  return (time, loadedBytes, totalBytes) => {
    const seconds = (time - lastTime) / 1000;
    const memory = Math.exp(-seconds / RATE_MEMORY_SECONDS);
    recentBytes = recentBytes * memory + loadedBytes - lastBytes;
    recentSeconds = recentSeconds * memory + seconds;
    lastTime = time;
    lastBytes = loadedBytes;
    if (recentBytes === 0 || recentSeconds === 0) return undefined;
    return ((totalBytes - loadedBytes) * recentSeconds) / recentBytes;
  };
}
