/** What loading says of its memory, and that it gives back what it took. */
import { afterAll, expect, it } from 'vitest';
import { openDevice } from '../../src/gpu/device.ts';
import { createGraph } from '../../src/graph/graph.ts';
import { Weights } from '../../src/graph/weight.ts';
import { openSource } from '../../src/sources/open-source.ts';
import { openCheckpoint } from '../../src/weights/checkpoint.ts';
import { checkpointResolver, type WantedFormat } from '../../src/weights/resolve.ts';
import { uploadWeights } from '../../src/weights/upload.ts';
import { freshSeed, seededRandom } from '../kernels/harness.ts';
import { jsonBytes, writeSafetensors } from './safetensors-writer.ts';

const gpu = await openDevice();
afterAll(() => gpu.dispose());

const MIB = 2 ** 20;
const [ROWS, COLS] = [6144, 1024];
const NAMES = ['embed_tokens', 'layers.0.gate', 'layers.0.up', 'layers.0.down'];

/** 48 MiB, more than may be in flight. */
async function openRandom() {
  const seed = freshSeed();
  const random = seededRandom(seed);
  const block = Uint16Array.from(
    { length: 65_536 },
    () => 0x3c00 + 0x8000 * Math.round(random()) + 128 * random(),
  );
  const data = new Uint16Array(ROWS * COLS);
  for (let at = 0; at < data.length; at += block.length) data.set(block, at);
  const tensors = NAMES.map((name) => ({
    name: `${name}.weight`,
    dtype: 'BF16' as const,
    shape: [ROWS, COLS],
    data,
  }));
  const files = { 'config.json': jsonBytes({}), 'model.safetensors': writeSafetensors(tensors) };
  return openCheckpoint(openSource(Object.entries(files).map(([name, bytes]) => new File([bytes], name))));
}
const checkpoint = await openRandom();

function weightsAs(wanted: WantedFormat | undefined) {
  const graph = createGraph(checkpointResolver(checkpoint, wanted));
  const w = new Weights(graph);
  w.matrix(['embed_tokens'], [ROWS], COLS, { role: 'embedding' });
  w.matrix(['layers.0.gate', 'layers.0.up'], [ROWS, ROWS], COLS, { layout: 'interleaved' });
  w.matrix(['layers.0.down'], [ROWS], COLS);
  return graph.weights.values();
}

it.each(['bf16', 'int4', undefined] as const)(
  'loading as %s reports heap and GPU peaks within their bounds',
  async (wanted) => {
    const weights = await uploadWeights(gpu, checkpoint, weightsAs(wanted));
    const { report } = weights;
    expect(report.bytesRead).toBe(NAMES.length * ROWS * COLS * 2);
    expect(report.megabytesPerSecond).toBeCloseTo(report.bytesRead / 1e6 / report.seconds);
    expect(report.gpuPeakBytes).toBeGreaterThan(weights.bytes);
    expect(report.gpuPeakBytes).toBeLessThanOrEqual(weights.bytes + 64 * MIB);
    expect(report.gpuFinalBytes).toBe(weights.bytes);
    expect(gpu.buffers.memory.bytes).toBe(weights.bytes);
    // Zero where garbage of before the load was collected meanwhile.
    expect(report.heapPeakBytes).toBeGreaterThanOrEqual(0);
    expect(report.heapPeakBytes).toBeLessThanOrEqual(128 * MIB);
    weights.dispose();
    expect(gpu.buffers.memory).toMatchObject({ bytes: 0, buffers: 0 });
  },
);

it('a load that is aborted half-way gives all GPU memory back', async () => {
  const stopper = new AbortController();
  let mostBytes = 0;
  const loading = uploadWeights(gpu, checkpoint, weightsAs('int8'), {
    signal: stopper.signal,
    onProgress({ loadedBytes, totalBytes }) {
      mostBytes = Math.max(mostBytes, gpu.buffers.memory.bytes);
      if (loadedBytes > totalBytes / 3) stopper.abort();
    },
    chunkBytes: MIB / 2,
  });
  await expect(loading).rejects.toThrow(/abort/i);
  expect(mostBytes).toBeGreaterThan(ROWS * COLS);
  expect(gpu.buffers.memory).toMatchObject({ bytes: 0, buffers: 0 });
});
