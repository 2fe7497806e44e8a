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
