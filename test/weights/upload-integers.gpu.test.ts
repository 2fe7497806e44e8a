/** What kernels find in the buffers of integer checkpoints: every published layout, fused, in turn, in parts, in small chunks. */
import { afterAll, describe, expect, it } from 'vitest';
import { WeightMismatchError } from '../../src/errors.ts';
import { openDevice } from '../../src/gpu/device.ts';
import { createGraph } from '../../src/graph/graph.ts';
import { Weights } from '../../src/graph/weight.ts';
import { openSource } from '../../src/sources/open-source.ts';
import { openCheckpoint } from '../../src/weights/checkpoint.ts';
import { type IntLayout, intFormat } from '../../src/weights/int-format.ts';
import { checkpointResolver } from '../../src/weights/resolve.ts';
import { uploadWeights } from '../../src/weights/upload.ts';
import { freshSeed, seededRandom } from '../kernels/harness.ts';
import { intValues } from '../reference/formats.ts';
import * as published from './published-integers.ts';
import { readSection, rowOrder } from './read-weights.ts';
import { jsonBytes, type TensorToWrite, writeSafetensors } from './safetensors-writer.ts';

const gpu = await openDevice();
afterAll(() => gpu.dispose());

interface Case {
  config: object;
  write: published.Write;
  layout: IntLayout;
  shape?: Partial<published.Shape>;
  /** Experts in one tensor. */
  isStacked?: boolean;
}

const compressed = (bits: number, groupSize: number) => ({
  quantization_config: {
    quant_method: 'compressed-tensors',
    format: 'pack-quantized',
    config_groups: {
      group_0: {
        weights: { num_bits: bits, group_size: groupSize, strategy: groupSize < 0 ? 'channel' : 'group' },
      },
    },
  },
});
const gptq = (bits: number, groupSize: number, more = {}) => ({
  quantization_config: { quant_method: 'gptq', bits, group_size: groupSize, ...more },
});

const cases: Record<string, Case> = {
  'GPTQ 4 bits, a last group that is not full': {
    config: gptq(4, 64),
    write: published.gptq,
    layout: { bits: 4, groupSize: 64, words: 'f16-zero' },
  },
  'GPTQ 8 bits': {
    config: gptq(8, 32, { checkpoint_format: 'gptq' }),
    write: published.gptq,
    layout: { bits: 8, groupSize: 32, words: 'f16-zero' },
  },
  'GPTQ 4 bits, version 2, whole rows': {
    config: gptq(4, -1, { checkpoint_format: 'gptq_v2' }),
    write: published.gptqV2,
    layout: { bits: 4, groupSize: undefined, words: 'f16-zero' },
    shape: { groupSize: 160 },
  },
  'GPTQ 4 bits, inputs in any order': {
    config: gptq(4, 32, { desc_act: true }),
    write: published.gptq,
    layout: { bits: 4, groupSize: 32, words: 'f16-zero', anyGroup: true },
    shape: { anyOrder: true },
  },
  'GPTQ 8 bits, inputs in any order': {
    config: gptq(8, 32, { desc_act: true }),
    write: published.gptq,
    layout: { bits: 8, groupSize: 32, words: 'f16-zero', anyGroup: true },
    shape: { anyOrder: true },
  },
  AWQ: {
    config: { quantization_config: { quant_method: 'awq', bits: 4, group_size: 64, version: 'gemm' } },
    write: published.awq,
    layout: { bits: 4, groupSize: 64, words: 'f16-zero' },
  },
  'MLX 4 bits, stacked experts': {
    config: { quantization: { bits: 4, group_size: 32 } },
    write: published.mlx,
    layout: { bits: 4, groupSize: 32, words: 'bf16-bias' },
    isStacked: true,
  },
  'MLX 8 bits': {
    config: { quantization: { bits: 8, group_size: 32 } },
    write: published.mlx,
    layout: { bits: 8, groupSize: 32, words: 'bf16-bias' },
  },
  'MLX 6 bits': {
    config: { quantization: { bits: 6, group_size: 32 } },
    write: published.mlx,
    layout: { bits: 8, groupSize: 32, words: 'bf16-bias' },
    shape: { bits: 6 },
  },
  'MLX 3 bits, stacked experts': {
    config: { quantization: { bits: 3, group_size: 32 } },
    write: published.mlx,
    layout: { bits: 4, groupSize: 32, words: 'bf16-bias' },
    shape: { bits: 3 },
    isStacked: true,
  },
  'compressed-tensors 4 bits': {
    config: compressed(4, 64),
    write: published.compressed,
    layout: { bits: 4, groupSize: 64, words: 'f32' },
  },
  'compressed-tensors 8 bits, packed': {
    config: compressed(8, 32),
    write: published.compressed,
    layout: { bits: 8, groupSize: 32, words: 'f32' },
  },
  'compressed-tensors 4 bits with zero points': {
    config: compressed(4, 32),
    write: published.asymmetric,
    layout: { bits: 4, groupSize: 32, words: 'bf16-zero' },
  },
  'compressed-tensors 8 bits, signed': {
    config: compressed(8, -1),
    write: published.signedBytes,
    layout: { bits: 8, groupSize: undefined, words: 'f32' },
  },
};

const COLS = 160;

function openFiles(config: object, tensors: TensorToWrite[]) {
  const files = { 'config.json': jsonBytes(config), 'model.safetensors': writeSafetensors(tensors) };
  return openCheckpoint(openSource(Object.entries(files).map(([name, bytes]) => new File([bytes], name))));
}

/** Tensors of experts, `experts.E.X`, joined to `switch_mlp.X`. */
function stack(tensors: TensorToWrite[]): TensorToWrite[] {
  const groups = new Map<string, TensorToWrite[]>();
  for (const tensor of tensors) {
    const name = tensor.name.replace(/experts\.\d+/, 'switch_mlp');
    groups.set(name, [...(groups.get(name) ?? []), tensor]);
  }
  return [...groups].map(([name, group]) => {
    const { dtype, shape } = group[0]!;
    if (!name.startsWith('switch_mlp')) return group[0]!;
    const bytes = group.flatMap(({ data }) => [...new Uint8Array(data!.buffer)]);
    return { name, dtype, shape: [group.length, ...shape], data: Uint8Array.from(bytes) };
  });
}

describe.for(Object.entries(cases))('%s', ([, { config, write, layout, shape, isStacked }]) => {
  it.for([
    ['in one piece', 4 << 20, 128 << 20],
    ['in small chunks, of weights that no binding holds whole', 1500, 24 * 400],
  ] as const)('every row has its values: %s', async ([, chunkBytes, maxBindingBytes]) => {
    const seed = freshSeed();
    const random = seededRandom(seed);
    const stored = new Map<string, published.StoredIntegers>();
    const add = (name: string, rows: number): void => {
      const groupSize = layout.groupSize ?? COLS;
      stored.set(name, write(random, name, { rows, cols: COLS, bits: layout.bits, groupSize, ...shape }));
    };
    add('q', 64);
    add('k', 32);
    add('gate', 40);
    add('up', 40);
    for (let e = 0; e < 3; e++) {
      add(`experts.${e}.gate`, 8);
      add(`experts.${e}.up`, 8);
      add(`experts.${e}.down`, 24);
    }
    // In the order of their names scales come before or behind the values, as the layout has it.
    const tensors = [...stored.values()].flatMap((s) => s.tensors).sort((a, b) => (a.name < b.name ? -1 : 1));
    const zero: TensorToWrite = { name: 'q.bias', dtype: 'F16', shape: [64] };
    const checkpoint = await openFiles(config, [...(isStacked ? stack(tensors) : tensors), zero]);
    const graph = createGraph(checkpointResolver(checkpoint));
    const w = new Weights(graph);
    w.matrix(['q', 'k'], [64, 32], COLS);
    w.matrix(['gate', 'up'], [40, 40], COLS, { layout: 'interleaved' });
    w.experts(3, ['gate', 'up'], [8, 8], COLS, 'interleaved');
    w.experts(3, ['down'], [24], COLS);
    const small = { ...gpu, traits: { ...gpu.traits, maxBindingBytes } };
    const weights = await uploadWeights(small, checkpoint, graph.weights.values(), { chunkBytes });
    try {
      for (const weight of graph.weights.values()) {
        expect(weight.format).toBe(intFormat(layout));
        const read = (section: string) => readSection(gpu.buffers, weights, weight, section, maxBindingBytes);
        const found = intValues(layout, await read('data'), await read('scale'), weight.rows, COLS);
        const wanted = rowOrder(weight).flatMap(([name, row]) => [
          ...stored.get(name.replace(/\.weight$/, ''))!.values.subarray(row * COLS, (row + 1) * COLS),
        ]);
        const differs = wanted.findIndex((value, i) => value !== found[i]);
        expect(differs, `seed ${seed}: ${weight.key}, ${found[differs]} for ${wanted[differs]}`).toBe(-1);
      }
    } finally {
      weights.dispose();
    }
    expect(gpu.buffers.memory.bytes).toBe(0);
  });
});

describe('what only the bytes of a checkpoint tell is refused, and nothing stays on the GPU', () => {
  const shape = { rows: 32, cols: 64, bits: 4, groupSize: 32 } as const;
  const descAct = gptq(4, 32, { desc_act: true });
  const ofGptq = (change: (tensors: Map<string, TensorToWrite>) => void): TensorToWrite[] => {
    const { tensors } = published.gptq(seededRandom(1), 'm', shape);
    const byName = new Map(tensors.map((t) => [t.name, t]));
    change(byName);
    return [...byName.values()];
  };
  const order = (...groups: number[]) =>
    ofGptq((tensors) => {
      (tensors.get('m.g_idx')!.data as Int32Array).set(groups, 7);
    });
  it.each<[string, object, TensorToWrite[], string]>([
    ['a group that does not exist', descAct, order(2), 'm.g_idx says that input 7 belongs to group 2'],
    ['a group below zero', descAct, order(-1), 'm.g_idx says that input 7 belongs to group -1'],
    ['inputs out of order', gptq(4, 32), order(1), 'm.g_idx says that input 7 belongs to group 1, not 0'],
    [
      'a bias that the model does not add',
      gptq(4, 32),
      ofGptq((tensors) => {
        const data = Uint16Array.from({ length: 32 }, (_, i) => (i === 9 ? 0x3c00 : 0x8000));
        tensors.set('m.bias', { name: 'm.bias', dtype: 'F16', shape: [32], data });
      }),
      'm.bias is not zero',
    ],
    [
      'another shape than that of the words',
      compressed(4, 32),
      published
        .compressed(seededRandom(1), 'm', shape)
        .tensors.map((t) => (t.dtype === 'I64' ? { ...t, data: BigInt64Array.of(32n, 63n) } : t)),
      'm.weight_shape says [32,63]',
    ],
  ])('%s', async (_, config, tensors, message) => {
    const checkpoint = await openFiles(config, tensors);
    const graph = createGraph(checkpointResolver(checkpoint));
    new Weights(graph).matrix(['m'], [shape.rows], shape.cols);
    const upload = uploadWeights(gpu, checkpoint, graph.weights.values());
    await expect(upload).rejects.toThrow(WeightMismatchError);
    await expect(upload).rejects.toThrow(message);
    expect(gpu.buffers.memory.bytes).toBe(0);
  });
});
