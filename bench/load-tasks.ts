/** @file What the load benchmark does in the process it measures, in Node and in a page alike. */
import { type LoadReport, loadModel, type WantedFormat } from '../src/index.ts';

export interface LoadTask {
  kind: 'load';
  /** Address of the checkpoint's folder. */
  url: string;
  /** As published when not given. */
  weights?: WantedFormat;
}

export interface DiscardTask {
  kind: 'discard';
  /** Addresses of the files, read one after another. */
  urls: string[];
}

export interface Discarded {
  seconds: number;
  bytesRead: number;
}

/**
 * @param gpu where the process has no `navigator.gpu`
 * @param onCompile is called when the weights are on the GPU
 */
export async function load(
  { url, weights }: LoadTask,
  gpu: GPU | undefined,
  onCompile: () => void,
): Promise<LoadReport> {
  let isCompiling = false;
  const model = await loadModel(url, {
    gpu,
    weights,
    contextLength: 16,
    prefillRows: 16,
    onProgress({ phase }) {
      if (phase === 'compile' && !isCompiling) onCompile();
      isCompiling = phase === 'compile';
    },
  });
  model.dispose();
  return model.info.load;
}

/** The plainest way to get the same bytes: fetch, read, forget. */
export async function discard({ urls }: DiscardTask): Promise<Discarded> {
  const begin = performance.now();
  let bytesRead = 0;
  for (const url of urls) {
    const { body } = await fetch(url);
    const reader = body!.getReader();
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      bytesRead += value.length;
    }
  }
  return { seconds: (performance.now() - begin) / 1000, bytesRead };
}
