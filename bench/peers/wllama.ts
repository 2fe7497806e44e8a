/** @file wllama (llama.cpp in WebAssembly, on WebGPU where it finds it) as a contender, in pages only. It runs in its own worker. */
import type { Contender, ContenderOptions } from './contender.ts';
import { ggufQwen3, tokenText } from './gguf-qwen3.ts';
import { int4Model } from './int4-model.ts';

/** As much of the package's types as is used here; it is not installed with the project. */
export interface WllamaPackage {
  Wllama: new (
    paths: { default: string },
    config: object,
  ) => {
    loadModel(files: Blob[], params: object): Promise<void>;
    createCompletion(params: object): Promise<{ choices: { text: string }[] }>;
    getNumThreads(): number;
  };
}

export async function startWllama(
  { Wllama }: WllamaPackage,
  wasmUrl: string,
  { config, contextLength }: ContenderOptions,
): Promise<Contender> {
  const model = int4Model(config);
  const file = new Blob(ggufQwen3(model, contextLength) as BlobPart[]);
  let log = '';
  const keep = (...words: unknown[]): void => {
    log += `${words.join(' ')}\n`;
  };
  const logger = { debug: keep, log: keep, warn: keep, error: keep };
  const wllama = new Wllama({ default: wasmUrl }, { logger });
  await wllama.loadModel([file], { n_ctx: contextLength, warmup: false });
  const { layers, kvHeads, headDim } = model.sizes;
  let ids: number[] = [];

  async function answer(count: number): Promise<number[]> {
    const { choices } = await wllama.createCompletion({
      prompt: ids.map(tokenText).join(''),
      max_tokens: count,
      temperature: 0,
      ignore_eos: true,
      cache_prompt: true,
    });
    const tokens = [...choices[0]!.text.matchAll(/<\|(\d+)\|>/g)].map(([, id]) => Number(id));
    if (tokens.length !== count)
      throw new Error(`wllama was asked for ${count} tokens and gave ${tokens.length}: ${choices[0]!.text}`);
    ids = [...ids, ...tokens];
    return tokens;
  }

  return {
    notes: `Q4_0, ${placeOf(log)}, ${wllama.getNumThreads()} thread(s), in a worker of its own`,
    weightBytes: file.size,
    kvBytes: 2 * 2 * layers * kvHeads * headDim * contextLength,
    isCounted: false,
    async prefill(prompt) {
      ids = [...prompt];
      return (await answer(1))[0]!;
    },
    decode: answer,
  };
}

/** By its own account: an adapter that lacks what its kernels need leaves all layers to the CPU, whatever the page supports. */
function placeOf(log: string): string {
  const [, count, all] = log.match(/offloaded (\d+)\/(\d+) layers to GPU/) ?? [];
  return count === undefined || count === '0' ? 'on the CPU' : `${count} of ${all} layers on WebGPU`;
}
