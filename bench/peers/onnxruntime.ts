/**
 * @file onnxruntime-web as a contender: its WebGPU execution provider, caches in GPU buffers that a step reads and writes in place,
 * and the token chosen from the logits in JavaScript, as transformers.js does.
 */
import type { Contender, ContenderOptions } from './contender.ts';
import { int4Model } from './int4-model.ts';
import { type OnnxFloat, onnxQwen3 } from './onnx-qwen3.ts';

interface OrtTensor {
  getData(): Promise<ArrayLike<number>>;
}

/** As much of the package's types as is used here; it is not installed with the project. */
export interface Ort {
  env: { wasm: { numThreads: number }; webgpu: { device: Promise<GPUDevice> } };
  Tensor: {
    new (type: string, data: BigInt64Array | Int32Array, dims: readonly number[]): OrtTensor;
    fromGpuBuffer(buffer: GPUBuffer, options: { dataType: string; dims: readonly number[] }): OrtTensor;
  };
  InferenceSession: {
    create(
      model: Uint8Array,
      options: object,
    ): Promise<{
      run(
        feeds: Record<string, OrtTensor>,
        fetches: Record<string, OrtTensor | null>,
      ): Promise<Record<string, OrtTensor>>;
    }>;
  };
}

/**
 * Dawn's binding for Node writes no buffers from shared memory, in which onnxruntime-web has its heap; browsers do. What is written
 * while it runs are a few bytes of uniforms.
 */
export function copySharedWrites(): void {
  const write = GPUQueue.prototype.writeBuffer;
  GPUQueue.prototype.writeBuffer = function (buffer, bufferOffset, data, ...range): undefined {
    const isShared = data instanceof Uint8Array && data.buffer instanceof SharedArrayBuffer;
    write.call(
      this,
      buffer,
      bufferOffset,
      isShared ? Uint8Array.from(data) : (data as BufferSource),
      ...range,
    );
  };
}

/** @param gpu to look for features */
export async function startOnnxruntime(
  ort: Ort,
  gpu: GPU,
  { config, contextLength }: ContenderOptions,
): Promise<Contender> {
  const adapter = await gpu.requestAdapter();
  // Software adapters gain nothing from f16, and llvmpipe compiles the kernels for many rows of it for minutes.
  const isSoftware = /llvmpipe|swiftshader/i.test(
    `${adapter?.info.description} ${adapter?.info.architecture}`,
  );
  const float: OnnxFloat = adapter?.features.has('shader-f16') && !isSoftware ? 'f16' : 'f32';
  const model = int4Model(config);
  const file = onnxQwen3(model, float, contextLength);
  const { layers, kvHeads, headDim } = model.sizes;
  // More are workers that copy nothing and wait for nothing here: all operators run on the GPU.
  ort.env.wasm.numThreads = 1;
  const session = await ort.InferenceSession.create(file, { executionProviders: ['webgpu'] });
  const device = await ort.env.webgpu.device;

  const dims = [1, kvHeads, contextLength, headDim];
  const cacheBytes = dims.reduce((a, b) => a * b) * (float === 'f16' ? 2 : 4);
  const usage = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST;
  const dataType = float === 'f16' ? 'float16' : 'float32';
  const caches = Array.from({ length: layers }, (_, l) => [`${l}.key`, `${l}.value`])
    .flat()
    .map((name) => ({
      name,
      tensor: ort.Tensor.fromGpuBuffer(device.createBuffer({ size: cacheBytes, usage }), { dataType, dims }),
    }));
  const cached = (kind: string): Record<string, OrtTensor> =>
    Object.fromEntries(caches.map(({ name, tensor }) => [`${kind}.${name}`, tensor]));
  const [past, present] = [cached('past_key_values'), cached('present')];
  let length = 0;
  let last = 0;

  async function logitsOf(ids: readonly number[]): Promise<ArrayLike<number>> {
    length += ids.length;
    const feeds = {
      ...past,
      input_ids: new ort.Tensor('int64', BigInt64Array.from(ids, BigInt), [1, ids.length]),
      seqlens_k: new ort.Tensor('int32', Int32Array.of(length - 1), [1, 1]),
      total_sequence_length: new ort.Tensor('int32', Int32Array.of(length), [1]),
    };
    const { logits } = await session.run(feeds, { ...present, logits: null });
    const data = await logits!.getData();
    // Where JavaScript has no Float16Array, these are bits.
    return data instanceof Uint16Array ? Float32Array.from(data, fromF16) : data;
  }

  async function next(ids: readonly number[]): Promise<number> {
    const logits = await logitsOf(ids);
    last = 0;
    for (let i = 1; i < logits.length; i++) if (logits[i]! > logits[last]!) last = i;
    return last;
  }

  return {
    notes: `MatMulNBits in ${float}, accuracy level 4, embedding in ${float}, caches shared by past and present`,
    weightBytes: file.length,
    kvBytes: cacheBytes * caches.length,
    isCounted: true,
    prefill(ids) {
      length = 0;
      return next(ids);
    },
    async decode(count) {
      const tokens: number[] = [];
      while (tokens.length < count) tokens.push(await next([last]));
      return tokens;
    },
    async logits(ids) {
      length = 0;
      return Float32Array.from(await logitsOf(ids));
    },
  };
}

function fromF16(bits: number): number {
  const [sign, exponent, fraction] = [bits >> 15 ? -1 : 1, (bits >> 10) & 31, bits & 1023];
  return exponent === 0 ? sign * fraction * 2 ** -24 : sign * (1024 + fraction) * 2 ** (exponent - 25);
}
