/**
 * @file onnxruntime-web as a contender: its WebGPU execution provider, all caches in GPU buffers, the token chosen from the logits
 * in JavaScript, as transformers.js does.
 */
import type { Contender, ContenderOptions } from './contender.ts';
import { int4Model } from './int4-model.ts';
import { type OnnxFloat, onnxQwen3 } from './onnx-qwen3.ts';

interface OrtTensor {
  dims: readonly number[];
  getData(): Promise<Float32Array | Uint16Array>;
  dispose(): void;
}

/** As much of the package's types as is used here; it is not installed with the project. */
interface Ort {
  env: {
    wasm: { numThreads: number; wasmPaths?: string };
    webgpu: { adapter?: GPUAdapter; device: Promise<GPUDevice> };
  };
  Tensor: {
    new (type: string, data: ArrayLike<number> | BigInt64Array, dims: readonly number[]): OrtTensor;
    fromGpuBuffer(buffer: GPUBuffer, options: { dataType: string; dims: readonly number[] }): OrtTensor;
  };
  InferenceSession: {
    create(model: Uint8Array, options: object): Promise<{
      run(feeds: Record<string, OrtTensor>, fetches?: Record<string, OrtTensor | null>): Promise<Record<string, OrtTensor>>;
      release(): Promise<void>;
    }>;
  };
}

export interface OrtOptions extends ContenderOptions {
  /** Imports the package. */
  ort: () => Promise<unknown>;
  float: OnnxFloat;
  accuracyLevel: 0 | 4;
  isShared: boolean;
}

export async function startOnnxruntime(options: OrtOptions): Promise<Contender> {
  const { config, contextLength, float } = options;
  const ort = (await options.ort()) as Ort;
  ort.env.wasm.numThreads = 1;
  const { sizes, file, weightBytes } = modelFile(options);
  const caches = Array.from({ length: sizes.layers }, (_, l) => [`${l}.key`, `${l}.value`]).flat();
  const session = await ort.InferenceSession.create(file, {
    executionProviders: ['webgpu'],
    graphOptimizationLevel: 'all',
    preferredOutputLocation: Object.fromEntries(caches.map((name) => [`present.${name}`, 'gpu-buffer'])),
  });
  void config;
  const device = await ort.env.webgpu.device;
  const dataType = float === 'f16' ? 'float16' : 'float32';
  const elementBytes = float === 'f16' ? 2 : 4;
  const dims = [1, sizes.kvHeads, contextLength, sizes.headDim];
  const bytes = dims.reduce((a, b) => a * b) * elementBytes;
  const shared = new Map(
    options.isShared ? caches.map((name) => {
      const buffer = device.createBuffer({ size: bytes, usage: GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST });
      return [name, ort.Tensor.fromGpuBuffer(buffer, { dataType, dims })];
    }) : [],
  );
  let past: Map<string, OrtTensor> = new Map();
  let length = 0;
  let next = 0;
  async function run(ids: readonly number[]): Promise<Float32Array> {
    length += ids.length;
    const feeds: Record<string, OrtTensor> = {
      input_ids: new ort.Tensor('int64', BigInt64Array.from(ids, BigInt), [1, ids.length]),
      seqlens_k: new ort.Tensor('int32', Int32Array.of(length - 1), [1, 1]),
      total_sequence_length: new ort.Tensor('int32', Int32Array.of(length), [1]),
    };
    const fetches: Record<string, OrtTensor | null> = { logits: null };
    for (const name of caches) {
      if (options.isShared) {
        feeds[`past_key_values.${name}`] = shared.get(name)!;
        fetches[`present.${name}`] = shared.get(name)!;
      } else {
        feeds[`past_key_values.${name}`] = past.get(name) ?? new ort.Tensor(dataType, dataType === 'float16' ? new Uint16Array(0) as never : new Float32Array(0), [1, sizes.kvHeads, 0, sizes.headDim]);
      }
    }
    const outputs = await (options.isShared ? session.run(feeds, fetches) : session.run(feeds));
    if (!options.isShared) {
      for (const t of past.values()) t.dispose();
      past = new Map(caches.map((name) => [name, outputs[`present.${name}`]!]));
    }
    const data = await outputs.logits!.getData();
    return data instanceof Float32Array ? data : Float32Array.from(data as unknown as ArrayLike<number>);
  }
  function reset(): void {
    length = 0;
    for (const t of past.values()) t.dispose();
    past = new Map();
  }
  const greedy = (logits: Float32Array): number => logits.reduce((best, v, i) => (v > logits[best]! ? i : best), 0);
  return {
    notes: '',
    weightBytes,
    kvBytes: bytes * caches.length,
    async prefill(ids) {
      reset();
      next = greedy(await run(ids));
      return next;
    },
    async decode(count) {
      const tokens: number[] = [];
      for (let i = 0; i < count; i++) {
        next = greedy(await run([next]));
        tokens.push(next);
      }
      return tokens;
    },
    async logits(ids) {
      reset();
      return run(ids);
    },
    async dispose() {
      await session.release();
    },
  };
}

function modelFile({ config, float, contextLength, accuracyLevel }: OrtOptions) {
  const model = int4Model(config);
  return { sizes: model.sizes, file: onnxQwen3(model, float, contextLength, accuracyLevel), weightBytes: 0 };
}
