/** @file CPU time of this process, all its threads together: a software adapter's are among them. */

/** Milliseconds since the process began; undefined in pages, which are not told. */
export function cpuMilliseconds(): number | undefined {
  const usage = globalThis.process?.cpuUsage?.();
  return usage && (usage.user + usage.system) / 1000;
}

/** What has passed since `before`. */
export function cpuSince(before: number | undefined): number | undefined {
  const now = cpuMilliseconds();
  return now === undefined || before === undefined ? undefined : now - before;
}
