/**
 * @file Which model the page talks to: loads checkpoints one at a time, cancels, replaces and releases them. Knows no DOM.
 *
 * While another checkpoint loads, the current model stays usable if it is small; a large one is released before the GPU is asked
 * for the memory of the next one, because few GPUs hold two. So a wrong URL, an unsupported config or a model beyond the GPU's
 * limits never costs the reader the current model.
 */
import {
  type Fit,
  type FitChoice,
  type LoadOptions,
  type LoadProgress,
  loadModel,
  type Model,
  type ModelInfo,
} from '../../src/index.ts';

/** What `loadModel` takes, with a name to show. */
export interface Checkpoint {
  name: string;
  source: Parameters<typeof loadModel>[0];
  /** It is downloaded, so it goes through the store. */
  isKept?: boolean;
  /** How to load it, if the reader took what was offered because the model did not fit. */
  choice?: FitChoice;
}

export interface LoadedModel {
  checkpoint: Checkpoint;
  model: Model;
}

export interface HostEvents {
  onLoading(checkpoint: Checkpoint): void;
  onProgress(progress: LoadProgress): void;
  /** What the model needs is known; if it does not fit, `onFailed` follows. */
  onFit(fit: Fit): void;
  /** Called before the model it replaces is released. */
  onReady(loaded: LoadedModel): void;
  /** `released` is the checkpoint that had to make room, if one did. */
  onFailed(error: unknown, checkpoint: Checkpoint, released: Checkpoint | undefined): void;
  onCancelled(released: Checkpoint | undefined): void;
  /** The current model cannot be used any more. */
  onGone(): void;
  onLost(error: Error, checkpoint: Checkpoint): void;
}

export interface ModelHost {
  readonly current: LoadedModel | undefined;
  /** Never rejects; the events say what happens. */
  load(checkpoint: Checkpoint): Promise<void>;
  cancel(): void;
}

/** A model up to this size shares the GPU with the next one while that loads. */
const SMALL_BYTES = 256 * 2 ** 20;

interface Attempt {
  controller: AbortController;
  released: Checkpoint | undefined;
}

/** @param options what to load a checkpoint with */
export function createModelHost(
  options: (checkpoint: Checkpoint) => Promise<LoadOptions>,
  events: HostEvents,
): ModelHost {
  let current: LoadedModel | undefined;
  let attempt: Attempt | undefined;

  function makeRoom(mine: Attempt): void {
    if (!current || gpuBytes(current.model.info) <= SMALL_BYTES) return;
    const { checkpoint, model } = current;
    current = undefined;
    mine.released = checkpoint;
    events.onGone();
    model.dispose();
  }

  function accept(loaded: LoadedModel): void {
    const previous = current;
    current = loaded;
    events.onReady(loaded);
    previous?.model.dispose();
    void loaded.model.lost.then((error) => {
      if (current !== loaded) return;
      current = undefined;
      events.onGone();
      loaded.model.dispose();
      events.onLost(error, loaded.checkpoint);
    });
  }

  function cancel(): void {
    if (!attempt) return;
    const { controller, released } = attempt;
    attempt = undefined;
    controller.abort();
    events.onCancelled(released);
  }

  return {
    get current() {
      return current;
    },
    async load(checkpoint) {
      cancel();
      const mine: Attempt = { controller: new AbortController(), released: undefined };
      attempt = mine;
      events.onLoading(checkpoint);
      try {
        const model = await loadModel(checkpoint.source, {
          ...(await options(checkpoint)),
          ...checkpoint.choice,
          onFit(fit) {
            if (attempt === mine) events.onFit(fit);
          },
          signal: mine.controller.signal,
          onProgress(progress) {
            if (attempt !== mine) return;
            if (progress.phase === 'fit') makeRoom(mine);
            events.onProgress(progress);
          },
        });
        if (attempt !== mine) return model.dispose(); // cancelled at the last moment
        attempt = undefined;
        accept({ checkpoint, model });
      } catch (error) {
        if (attempt !== mine) return;
        attempt = undefined;
        events.onFailed(error, checkpoint, mine.released);
      }
    },
    cancel,
  };
}

/** All GPU memory that a model holds, in bytes. */
export function gpuBytes(info: ModelInfo): number {
  return info.weightBytes + info.kvBytes + info.activationBytes;
}
