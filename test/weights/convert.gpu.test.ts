/** What 16- and 32-bit checkpoints become when they are quantised or rounded while they load. */
import { afterAll, describe, expect, it } from 'vitest';
import { NumericalError } from '../../src/errors.ts';
import { openDevice } from '../../src/gpu/device.ts';
import { createGraph, type Graph } from '../../src/graph/graph.ts';
import { type Weight, Weights } from '../../src/graph/weight.ts';
import { openSource } from '../../src/sources/open-source.ts';
import { openCheckpoint } from '../../src/weights/checkpoint.ts';
import { convertedFormats } from '../../src/weights/converted-formats.ts';
import { formats } from '../../src/weights/formats.ts';
import { checkpointResolver, type WantedFormat } from '../../src/weights/resolve.ts';
import { uploadWeights } from '../../src/weights/upload.ts';
import { f16Bits, f16Value, freshSeed, randomNormal, seededRandom } from '../kernels/harness.ts';
import { bf16Bits, bf16Value, intValues } from '../reference/formats.ts';
import { groupErrors } from '../reference/quantize.ts';
import { readSection, rowOrder } from './read-weights.ts';
import { jsonBytes, type TensorToWrite, writeSafetensors } from './safetensors-writer.ts';

const gpu = await openDevice();
afterAll(() => gpu.dispose());

type Dtype = 'BF16' | 'F16' | 'F32';
const LAYOUTS = {
  int4: { bits: 4, groupSize: 32, words: 'bf16-bias', candidates: 8 },
  int8: { bits: 8, groupSize: 64, words: 'bf16-bias', candidates: 2 },
} as const;

/** Values as checkpoints have them: most are small, a few are not, some rows are zeros or all the same. */
function someValues(random: () => number, rows: number, cols: number): Float32Array {
  const values = randomNormal(random, rows * cols, 0.02);
  for (let i = 0; i < values.length; i += 97) values[i]! *= 30;
  values.fill(0, cols, 2 * cols);
  values.fill(0.75, 2 * cols, 3 * cols);
  return values;
}

function stored(dtype: Dtype, values: Float32Array): { data: ArrayBufferView; exact: Float32Array } {
  if (dtype === 'F32') return { data: values, exact: values };
  const [encode, decode] = dtype === 'F16' ? [f16Bits, f16Value] : [bf16Bits, bf16Value];
  const data = Uint16Array.from(values, encode);
  return { data, exact: Float32Array.from(data, decode) };
}

/** A checkpoint of matrices [rows, cols] in one dtype, and the values that it really holds. */
async function write(dtype: Dtype, matrices: Record<string, { cols: number; values: Float32Array }>) {
  const exact = new Map<string, { cols: number; values: Float32Array }>();
  const tensors = Object.entries(matrices).map(([name, { cols, values }]): TensorToWrite => {
    const { data, exact: kept } = stored(dtype, values);
    exact.set(`${name}.weight`, { cols, values: kept });
    return { name: `${name}.weight`, dtype, shape: [values.length / cols, cols], data };
  });
  const files = { 'config.json': jsonBytes({}), 'model.safetensors': writeSafetensors(tensors) };
  const checkpoint = await openCheckpoint(
    openSource(Object.entries(files).map(([name, bytes]) => new File([bytes], name))),
  );
  return { checkpoint, exact };
}

function matrices(random: () => number) {
  const sizes: Record<string, [number, number]> = {
    'layers.0.q': [68, 275],
    'layers.0.k': [12, 275],
    'layers.0.gate': [37, 224],
    'layers.0.up': [37, 224],
    embed_tokens: [61, 96],
    'layers.0.mlp.gate': [5, 96],
  };
  for (let e = 0; e < 3; e++) {
    sizes[`experts.${e}.gate`] = [8, 64];
    sizes[`experts.${e}.up`] = [8, 64];
  }
  return Object.fromEntries(
    Object.entries(sizes).map(([name, [rows, cols]]) => [
      name,
      { cols, values: someValues(random, rows, cols) },
    ]),
  );
}

function record(graph: Graph): void {
  const w = new Weights(graph);
  w.matrix(['layers.0.q', 'layers.0.k'], [68, 12], 275);
  w.matrix(['layers.0.gate', 'layers.0.up'], [37, 37], 224, { layout: 'interleaved' });
  w.matrix(['embed_tokens'], [61], 96, { role: 'embedding' });
  w.matrix(['layers.0.mlp.gate'], [5], 96, { role: 'router' });
  w.experts(3, ['gate', 'up'], [8, 8], 64, 'interleaved');
}

async function load(
  checkpoint: Awaited<ReturnType<typeof openCheckpoint>>,
  wanted: WantedFormat,
  [chunkBytes, maxBindingBytes]: readonly [number, number],
) {
  const graph = createGraph(checkpointResolver(checkpoint, wanted));
  record(graph);
  const small = { ...gpu, traits: { ...gpu.traits, maxBindingBytes } };
  const weights = await uploadWeights(small, checkpoint, graph.weights.values(), { chunkBytes });
  try {
    const found = new Map<Weight, Map<string, Uint8Array>>();
    for (const weight of graph.weights.values()) {
      const sections = new Map<string, Uint8Array>();
      for (const { name } of weight.format.sections)
        sections.set(name, await readSection(gpu.buffers, weights, weight, name, maxBindingBytes));
      found.set(weight, sections);
    }
    return { found, errors: weights.conversionErrors };
  } finally {
    weights.dispose();
    expect(gpu.buffers.memory.bytes).toBe(0);
  }
}

/** What the sections mean. */
function decoded({ format, rows, cols }: Weight, sections: Map<string, Uint8Array>): Float64Array {
  const data = sections.get('data')!;
  const layout = Object.values(LAYOUTS).find(({ bits }) => format.name.startsWith(`int${bits}`));
  if (layout) return intValues(layout, data, sections.get('scale')!, rows, cols);
  const rowValues = format.sections[0]!.rowBytes(cols) / (format === formats.f32 ? 4 : 2);
  const elements = new (format === formats.f32 ? Float32Array : Uint16Array)(data.buffer as ArrayBuffer);
  const decode = format === formats.f32 ? (x: number) => x : format === formats.f16 ? f16Value : bf16Value;
  return Float64Array.from({ length: rows * cols }, (_, i) =>
    decode(elements[Math.floor(i / cols) * rowValues + (i % cols)]!),
  );
}

const SIZES = [
  ['in one piece', [4 << 20, 128 << 20]],
  ['in small chunks, of weights that no binding holds whole', [1500, 24 * 560]],
] as const;

describe.each(['BF16', 'F16', 'F32'] as const)('%s', (dtype) => {
  for (const [how, sizes] of SIZES) {
    it.each(['int4', 'int8'] as const)(
      `becomes %s no worse than by the best of its ranges, and the report says how much was lost: ${how}`,
      async (wanted) => {
        const seed = freshSeed();
        const { checkpoint, exact } = await write(dtype, matrices(seededRandom(seed)));
        const { found, errors } = await load(checkpoint, wanted, sizes);
        const sums = new Map<string, { error: number; size: number; most: number }>();
        let [rounded, searched, wantedError] = [0, 0, 0];
        for (const [weight, sections] of found) {
          const isRouter = weight.names[0]!.includes('mlp.gate');
          const isEmbedding = weight.names[0]!.includes('embed_tokens');
          const wantedFormat = isRouter
            ? formats[dtype.toLowerCase() as 'bf16' | 'f16' | 'f32']
            : convertedFormats[isEmbedding ? 'int8' : wanted];
          expect(weight.format).toBe(wantedFormat);
          const values = decoded(weight, sections);
          const layout = LAYOUTS[isEmbedding ? 'int8' : wanted];
          rowOrder(weight).forEach(([name, row], r) => {
            const { cols } = weight;
            const rowValues = exact.get(name)!.values.subarray(row * cols, (row + 1) * cols);
            if (isRouter) {
              expect([...rowValues], `seed ${seed}`).toEqual([...values.subarray(r * cols, (r + 1) * cols)]);
              return;
            }
            const tensors = name.replace('.weight', '').replace(/\.\d+(?=\.)/g, '');
            const sum = sums.get(tensors) ?? { error: 0, size: 0, most: 0 };
            sums.set(tensors, sum);
            for (let c = 0; c < cols; c += layout.groupSize) {
              const group = [...rowValues.subarray(c, c + layout.groupSize)];
              const differences = group.map((v, i) => Math.abs(v - values[r * cols + c + i]!));
              const sizes = group.map(Math.abs);
              sum.error += differences.reduce((a, b) => a + b, 0);
              sum.size += sizes.reduce((a, b) => a + b, 0);
              if (Math.max(...sizes) > 0)
                sum.most = Math.max(sum.most, Math.max(...differences) / Math.max(...sizes));
              const error = differences.reduce((a, b) => a + b * b, 0);
              // The kernel's search counts the first value of a group that is not full more than once.
              if (group.length < layout.groupSize) continue;
              const twin = groupErrors(group, layout.bits, layout.candidates);
              const float32 = 1e-12 * Math.max(...sizes) ** 2 * group.length;
              expect(error, `seed ${seed}: ${name} row ${row}, column ${c}`).toBeLessThanOrEqual(
                twin.rounded * 1.0001 + float32,
              );
              rounded += twin.rounded;
              searched += error;
              wantedError += twin.searched;
            }
          });
        }
        // In a group the last bit of a sum may decide how a scale is rounded, and so either way by some percent.
        expect(searched / wantedError, `seed ${seed}`).toBeCloseTo(1, 2);
        // Few bits gain most.
        expect(searched).toBeLessThan(rounded * (wanted === 'int4' ? 0.9 : 1));
        for (const { tensors, meanRelativeError, maxRelativeError } of errors) {
          const { error, size, most } = sums.get(tensors)!;
          expect(meanRelativeError, tensors).toBeCloseTo(error / size, 5);
          expect(maxRelativeError, tensors).toBeCloseTo(most, 5);
        }
        expect(errors.map(({ tensors }) => tensors).sort()).toEqual([...sums.keys()].sort());
      },
    );

    it.each(['f16', 'bf16'] as const)(`becomes %s, the nearest: ${how}`, async (wanted) => {
      const seed = freshSeed();
      const { checkpoint, exact } = await write(dtype, matrices(seededRandom(seed)));
      const { found } = await load(checkpoint, wanted, sizes);
      for (const [weight, sections] of found) {
        expect(weight.format).toBe(formats[wanted]);
        const values = decoded(weight, sections);
        rowOrder(weight).forEach(([name, row], r) => {
          for (let c = 0; c < weight.cols; c++) {
            const value = exact.get(name)!.values[row * weight.cols + c]!;
            const result = values[r * weight.cols + c]!;
            if (wanted === 'bf16') expect(result, `seed ${seed}`).toBe(bf16Value(bf16Bits(value)));
            // WGSL leaves open which of the two neighbours a float16 becomes.
            else
              expect(Math.abs(result - value)).toBeLessThanOrEqual(
                Math.max(2 ** -24, Math.abs(value) * 2 ** -10),
              );
          }
        });
      }
    });
  }
});

it('the same checkpoint becomes the same bytes each time, however it is cut into chunks', async () => {
  const { checkpoint } = await write('BF16', matrices(seededRandom(freshSeed())));
  const bytes = async (sizes: readonly [number, number]) =>
    [...(await load(checkpoint, 'int4', sizes)).found.values()].map((sections) => [...sections.values()]);
  const first = await bytes(SIZES[0][1]);
  expect(await bytes(SIZES[0][1])).toEqual(first);
  expect(await bytes(SIZES[1][1])).toEqual(first);
});

it.each([
  ['NaN', Number.NaN, 'int4'],
  ['infinity', Number.NEGATIVE_INFINITY, 'int8'],
  ['more than a float16 holds', 70000, 'f16'],
] as const)(
  '%s in a weight is an error that names the tensor, and nothing stays on the GPU',
  async (_, value, wanted) => {
    const all = matrices(seededRandom(freshSeed()));
    all['layers.0.up']!.values[777] = value;
    const { checkpoint } = await write('F32', all);
    const loading = load(checkpoint, wanted, SIZES[0][1]);
    await expect(loading).rejects.toThrow(NumericalError);
    await expect(loading).rejects.toThrow('layers.up');
    expect(gpu.buffers.memory.bytes).toBe(0);
  },
);
