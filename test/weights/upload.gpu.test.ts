/** What kernels find in the buffers of a float8 checkpoint: ragged blocks, fused matrices, scales of every type in another file. */
import { afterAll, expect, it } from 'vitest';
import { readBuffer } from '../../src/gpu/buffers.ts';
import { openDevice } from '../../src/gpu/device.ts';
import { createGraph } from '../../src/graph/graph.ts';
import { Weights } from '../../src/graph/weight.ts';
import { openSource } from '../../src/sources/open-source.ts';
import type { LoadProgress } from '../../src/sources/progress.ts';
import { openCheckpoint } from '../../src/weights/checkpoint.ts';
import { formats } from '../../src/weights/formats.ts';
import { checkpointResolver } from '../../src/weights/resolve.ts';
import { uploadWeights } from '../../src/weights/upload.ts';
import { f16Bits, f16Value, freshSeed, seededRandom } from '../kernels/harness.ts';
import { readSection, rowOrder } from './read-weights.ts';
import { jsonBytes, type TensorToWrite, writeIndex, writeSafetensors } from './safetensors-writer.ts';

const gpu = await openDevice();
afterAll(() => gpu.dispose());

/** A float8 matrix: its codes, and its scales as the float32 they mean. */
interface Fp8Matrix {
  cols: number;
  codes: Uint8Array;
  scales: Float32Array;
  tensors: TensorToWrite[];
}

function fp8Matrix(random: () => number, name: string, rows: number, cols: number): Fp8Matrix {
  const codes = Uint8Array.from({ length: rows * cols }, () => 256 * random());
  const shape = [Math.ceil(rows / 128), Math.ceil(cols / 128)];
  const dtype = (['F32', 'BF16', 'F16'] as const)[Math.floor(3 * random())]!;
  // Down to subnormal float16.
  const exact = Float32Array.from({ length: shape[0]! * shape[1]! }, () => 10 ** (2 - 8 * random()));
  const halves = Uint16Array.from(exact, dtype === 'F16' ? f16Bits : highHalf);
  const scales =
    dtype === 'F32'
      ? exact
      : Float32Array.from(halves, dtype === 'F16' ? f16Value : (bits) => fromHighHalf(bits));
  return {
    cols,
    codes,
    scales,
    tensors: [
      { name: `${name}.weight`, dtype: 'F8_E4M3', shape: [rows, cols], data: codes },
      { name: `${name}.weight_scale_inv`, dtype, shape, data: dtype === 'F32' ? exact : halves },
    ],
  };
}

const highHalf = (value: number): number => new Uint32Array(new Float32Array([value]).buffer)[0]! >>> 16;
const fromHighHalf = (bits: number): number => new Float32Array(new Uint32Array([bits << 16]).buffer)[0]!;

/** Bytes of the largest write to the GPU while `run` runs. */
async function largestWrite(run: () => Promise<unknown>): Promise<number> {
  const { queue } = gpu.device;
  const { writeBuffer } = queue;
  let largest = 0;
  queue.writeBuffer = (buffer: GPUBuffer, offset: number, data: GPUAllowSharedBufferSource) => {
    largest = Math.max(largest, data.byteLength);
    return writeBuffer.call(queue, buffer, offset, data);
  };
  try {
    await run();
  } finally {
    queue.writeBuffer = writeBuffer;
  }
  return largest;
}

it.each([
  ['in one piece', 4 << 20, 128 << 20],
  ['in small chunks', 2000, 128 << 20],
  ['in small chunks, of weights that no binding holds whole', 2000, 260 * 288],
])(
  'every row of a float8 weight has its codes and its scales: %s',
  async (_, chunkBytes, maxBindingBytes) => {
    const seed = freshSeed();
    const random = seededRandom(seed);
    const stored = new Map<string, Fp8Matrix>();
    const add = (name: string, rows: number, cols: number): void => {
      stored.set(`${name}.weight`, fp8Matrix(random, name, rows, cols));
    };
    add('q', 200, 275);
    add('k', 72, 275);
    add('v', 129, 275);
    add('gate', 137, 144);
    add('up', 137, 144);
    add('o', 300, 640);
    for (let e = 0; e < 4; e++) {
      add(`experts.${e}.gate`, 130, 272);
      add(`experts.${e}.up`, 130, 272);
      add(`experts.${e}.down`, 136, 130);
    }
    const router = Uint8Array.from({ length: 4 * 275 * 2 }, () => 256 * random());
    const weightsShard: TensorToWrite[] = [
      ...[...stored.values()].map((m) => m.tensors[0]!),
      { name: 'router.weight', dtype: 'BF16', shape: [4, 275], data: router },
    ];
    const shards = {
      'model-00001-of-00002.safetensors': [...stored.values()].map((m) => m.tensors[1]!),
      'model-00002-of-00002.safetensors': weightsShard,
    };
    const files = {
      'config.json': jsonBytes({
        quantization_config: { quant_method: 'fp8', weight_block_size: [128, 128] },
      }),
      'model.safetensors.index.json': writeIndex(shards),
      ...Object.fromEntries(
        Object.entries(shards).map(([file, tensors]) => [file, writeSafetensors(tensors)]),
      ),
    };
    const checkpoint = await openCheckpoint(
      openSource(Object.entries(files).map(([name, bytes]) => new File([bytes], name))),
    );
    const graph = createGraph(checkpointResolver(checkpoint));
    const w = new Weights(graph);
    const fused = [
      w.matrix(['q', 'k', 'v'], [200, 72, 129], 275),
      w.matrix(['gate', 'up'], [137, 137], 144, { layout: 'interleaved' }),
      w.matrix(['o'], [300], 640),
      w.experts(4, ['gate', 'up'], [130, 130], 272, 'interleaved'),
      w.experts(4, ['down'], [136], 130),
    ];
    const plain = w.matrix(['router'], [4], 275, { role: 'router' });

    let latest: LoadProgress | undefined;
    let weights!: Awaited<ReturnType<typeof uploadWeights>>;
    const largest = await largestWrite(async () => {
      const small = { ...gpu, traits: { ...gpu.traits, maxBindingBytes } };
      weights = await uploadWeights(small, checkpoint, graph.weights.values(), {
        chunkBytes,
        onProgress: (progress) => {
          latest = progress;
        },
      });
    });
    try {
      expect(latest).toMatchObject({
        loadedBytes: checkpoint.totalBytes,
        totalBytes: checkpoint.totalBytes,
        loadedTensors: checkpoint.tensors.size,
        totalTensors: checkpoint.tensors.size,
      });
      // 128 rows of scales come at once, however small the chunk.
      expect(largest).toBeLessThanOrEqual(Math.max(chunkBytes, 128 * 32));
      for (const weight of fused) {
        expect(weight.format).toBe(formats.fp8);
        const [dataBytes, scaleBytes] = weight.format.sections.map((s) => s.rowBytes(weight.cols)) as [
          number,
          number,
        ];
        const data = await readSection(gpu.buffers, weights, weight, 'data', maxBindingBytes);
        const scale = new Float32Array(
          (await readSection(gpu.buffers, weights, weight, 'scale', maxBindingBytes)).buffer as ArrayBuffer,
        );
        const order = rowOrder(weight);
        const wantedData = new Uint8Array(data.length);
        const wantedScale = new Float32Array(scale.length);
        order.forEach(([name, row], r) => {
          const { codes, scales, cols } = stored.get(name)!;
          wantedData.set(codes.subarray(row * cols, (row + 1) * cols), r * dataBytes);
          const numScales = Math.ceil(cols / 128);
          const block = Math.floor(row / 128);
          wantedScale.set(scales.subarray(block * numScales, (block + 1) * numScales), (r * scaleBytes) / 4);
        });
        expect(firstDifference(data, wantedData), `seed ${seed}: codes of ${weight.key}`).toBe(-1);
        expect(firstDifference(scale, wantedScale), `seed ${seed}: scales of ${weight.key}`).toBe(-1);
      }
      const rows = await readSection(gpu.buffers, weights, plain, 'data', maxBindingBytes);
      for (let r = 0; r < 4; r++) {
        expect(rows.slice(r * 560, r * 560 + 550), `seed ${seed}`).toEqual(
          router.slice(r * 550, r * 550 + 550),
        );
      }
    } finally {
      weights.dispose();
    }
    expect(gpu.buffers.memory.bytes).toBe(0);
  },
);

/** The first place where two arrays differ, -1 when they are equal. */
function firstDifference(actual: ArrayLike<number>, wanted: ArrayLike<number>): number {
  for (let i = 0; i < wanted.length; i++) if (!Object.is(actual[i], wanted[i])) return i;
  return actual.length === wanted.length ? -1 : wanted.length;
}

it('values of vectors that are interleaved come in turn, and of others one after another', async () => {
  const values = (first: number): Float32Array => Float32Array.from({ length: 7 }, (_, i) => first + i);
  const tensors: TensorToWrite[] = ['gate', 'up'].map((name, i) => ({
    name: `${name}.bias`,
    dtype: 'F32',
    shape: [7],
    data: values(100 * i + 1),
  }));
  const files = { 'config.json': jsonBytes({}), 'model.safetensors': writeSafetensors(tensors) };
  const checkpoint = await openCheckpoint(
    openSource(Object.entries(files).map(([name, bytes]) => new File([bytes], name))),
  );
  for (const layout of ['interleaved', 'stacked'] as const) {
    const graph = createGraph(checkpointResolver(checkpoint));
    const vector = new Weights(graph).vector(['gate.bias', 'up.bias'], [7, 7], layout);
    const weights = await uploadWeights(gpu, checkpoint, graph.weights.values());
    try {
      const buffer = weights.buffer(vector, 'data', { index: 0, begin: 0, rows: 1 });
      const found = new Float32Array(await readBuffer(gpu.buffers, buffer)).slice(0, 14);
      const wanted = Array.from({ length: 14 }, (_, i) =>
        layout === 'interleaved' ? 100 * (i % 2) + 1 + (i >> 1) : i < 7 ? 1 + i : 94 + i,
      );
      expect([...found], layout).toEqual(wanted);
    } finally {
      weights.dispose();
    }
  }
});
