/** Matrices that a file holds in others (fused projections, stacked experts): every buffer is what it is where each has its own tensors. */
import { afterAll, describe, expect, it } from 'vitest';
import { UnsupportedConfigError, WeightMismatchError } from '../../src/errors.ts';
import { openDevice } from '../../src/gpu/device.ts';
import { createGraph } from '../../src/graph/graph.ts';
import { Weights } from '../../src/graph/weight.ts';
import { openSource } from '../../src/sources/open-source.ts';
import { openCheckpoint } from '../../src/weights/checkpoint.ts';
import { downloadBytes } from '../../src/weights/download.ts';
import { checkpointResolver } from '../../src/weights/resolve.ts';
import { uploadWeights } from '../../src/weights/upload.ts';
import { freshSeed, seededRandom } from '../kernels/harness.ts';
import * as published from './published-integers.ts';
import { readSection } from './read-weights.ts';
import { jsonBytes, type TensorToWrite, writeSafetensors } from './safetensors-writer.ts';

const gpu = await openDevice();
afterAll(() => gpu.dispose());

const COLS = 160;
const bytes = (random: () => number, length: number) => Uint8Array.from({ length }, () => 256 * random());

type Write = (random: () => number, name: string, rows: number) => TensorToWrite[];

const plain: Write = (random, name, rows) => [
  { name: `${name}.weight`, dtype: 'BF16', shape: [rows, COLS], data: bytes(random, 2 * rows * COLS) },
];
const fp8: Write = (random, name, rows) => {
  const scales = Float32Array.from({ length: Math.ceil(rows / 128) * 2 }, random);
  return [
    { name: `${name}.weight`, dtype: 'F8_E4M3', shape: [rows, COLS], data: bytes(random, rows * COLS) },
    { name: `${name}.weight_scale_inv`, dtype: 'F32', shape: [scales.length / 2, 2], data: scales },
  ];
};
const integers =
  (write: published.Write, bits: 4 | 8, groupSize = 32): Write =>
  (random, name, rows) =>
    write(random, name, { rows, cols: COLS, bits, groupSize }).tensors;
const compressed = (bits: number, groupSize = 32) => ({
  quantization_config: {
    quant_method: 'compressed-tensors',
    format: 'pack-quantized',
    config_groups: {
      all: {
        weights: { num_bits: bits, group_size: groupSize, strategy: groupSize < 0 ? 'channel' : 'group' },
      },
    },
  },
});

/** Rows of q, of k and of v, and of gate and of up. */
const SIZES = { q: 64, kv: 32, gate: 40 };
const cases: Record<string, { config: object; write: Write; sizes?: typeof SIZES }> = {
  bf16: { config: {}, write: plain },
  'float8 with scales for blocks': { config: {}, write: fp8, sizes: { q: 256, kv: 128, gate: 256 } },
  MLX: { config: { quantization: { bits: 4, group_size: 32 } }, write: integers(published.mlx, 4) },
  'compressed-tensors': { config: compressed(4), write: integers(published.compressed, 4) },
  'compressed-tensors with zero points': { config: compressed(4), write: integers(published.asymmetric, 4) },
  'compressed-tensors, signed': {
    config: compressed(8, -1),
    write: integers(published.signedBytes, 8, COLS),
  },
};

const contents = ({ data }: TensorToWrite): number[] => [
  ...new Uint8Array(data!.buffer, data!.byteOffset, data!.byteLength),
];

/** Tensors of several modules, each the rows of one after those of another. */
function joinRows(name: string, parts: readonly TensorToWrite[][]): TensorToWrite[] {
  return parts[0]!.map((first, i) => {
    const suffix = first.name.slice(first.name.lastIndexOf('.'));
    const all = parts.map((tensors) => tensors[i]!);
    const rows = all.reduce((sum, { shape }) => sum + shape[0]!, 0);
    if (suffix !== '.weight_shape') {
      const data = Uint8Array.from(all.flatMap(contents));
      return { ...first, name: `${name}${suffix}`, shape: [rows, ...first.shape.slice(1)], data };
    }
    const of = all.reduce((sum, { data }) => sum + (data as BigInt64Array)[0]!, 0n);
    return { ...first, name: `${name}${suffix}`, data: BigInt64Array.of(of, BigInt(COLS)) };
  });
}

function stack(name: (suffix: string) => string, experts: readonly TensorToWrite[][]): TensorToWrite[] {
  return experts[0]!.map((first, i) => ({
    ...first,
    name: name(first.name.slice(first.name.lastIndexOf('.') + 1)),
    shape: [experts.length, ...first.shape],
    data: Uint8Array.from(experts.flatMap((tensors) => contents(tensors[i]!))),
  }));
}

function open(config: object, tensors: TensorToWrite[]) {
  const files = { 'config.json': jsonBytes(config), 'model.safetensors': writeSafetensors(tensors) };
  return openCheckpoint(openSource(Object.entries(files).map(([name, data]) => new File([data], name))));
}

const EXPERTS = 3;

/** Every section of every weight, by name. */
async function upload(
  config: object,
  tensors: TensorToWrite[],
  { q, kv, gate }: typeof SIZES,
  hasBias: boolean,
): Promise<Map<string, Uint8Array>> {
  const checkpoint = await open(config, tensors);
  const graph = createGraph(checkpointResolver(checkpoint));
  const w = new Weights(graph, 'a');
  const projections = ['q_proj', 'k_proj', 'v_proj'];
  w.matrix(projections, [q, kv, kv], COLS);
  w.matrix(['gate_proj', 'up_proj'], [gate, gate], COLS, { layout: 'interleaved' });
  w.experts(EXPERTS, ['gate_proj', 'up_proj'], [gate, gate], COLS, 'interleaved');
  w.experts(EXPERTS, ['down_proj'], [kv], COLS);
  if (hasBias) {
    w.vector(
      projections.map((name) => `${name}.bias`),
      [q, kv, kv],
    );
  }
  const found = new Map<string, Uint8Array>();
  let total = 0;
  const weights = await uploadWeights(gpu, checkpoint, graph.weights.values(), {
    chunkBytes: 1500,
    onProgress: ({ totalBytes }) => {
      total = totalBytes;
    },
  });
  try {
    expect(downloadBytes(checkpoint, graph.weights.values())).toBe(total);
    for (const weight of graph.weights.values()) {
      if (weight.isVector) continue;
      for (const { name } of weight.format.sections) {
        const read = await readSection(gpu.buffers, weights, weight, name, gpu.traits.maxBindingBytes);
        found.set(`${weight.key} ${name}`, read);
      }
    }
  } finally {
    weights.dispose();
  }
  return found;
}

describe.for(Object.entries(cases))('%s', ([, { config, write, sizes = SIZES }]) => {
  const made = () => {
    const random = seededRandom(freshSeed());
    const { q, kv, gate } = sizes;
    const of = (name: string, rows: number) => write(random, `a.${name}`, rows);
    const own = {
      qkv: [of('q_proj', q), of('k_proj', kv), of('v_proj', kv)],
      gateUp: [of('gate_proj', gate), of('up_proj', gate)],
      experts: Array.from({ length: EXPERTS }, (_, e) => ({
        gateUp: [of(`experts.${e}.gate_proj`, gate), of(`experts.${e}.up_proj`, gate)],
        down: of(`experts.${e}.down_proj`, kv),
      })),
    };
    const each = own.experts.flatMap(({ gateUp, down }) => [...gateUp.flat(), ...down]);
    return { own, each, apart: [...own.qkv.flat(), ...own.gateUp.flat(), ...each] };
  };

  it('projections in one matrix', async () => {
    const { own, each, apart } = made();
    const fused = [...joinRows('a.qkv_proj', own.qkv), ...joinRows('a.gate_up_proj', own.gateUp)];
    expect(await upload(config, [...fused, ...each], sizes, false)).toEqual(
      await upload(config, apart, sizes, false),
    );
  });

  it.each<[string, (projection: string) => (suffix: string) => string]>([
    ['as transformers names them', (p) => (suffix) => `a.experts.${p}_${suffix}`.replace('_weight', '')],
    ['as modules', (p) => (suffix) => `a.experts.${p}.${suffix}`],
    ['as mlx-lm names them', (p) => (suffix) => `a.switch_mlp.${p}.${suffix}`],
  ])('gate and up of all experts in one stack, %s', async (_, nameOf) => {
    const { own, apart } = made();
    const gateUp = own.experts.map((expert) => joinRows('x', expert.gateUp));
    const down = own.experts.map((expert) => expert.down);
    const stacked = [...stack(nameOf('gate_up_proj'), gateUp), ...stack(nameOf('down_proj'), down)];
    const others = [...own.qkv.flat(), ...own.gateUp.flat()];
    expect(await upload(config, [...others, ...stacked], sizes, false)).toEqual(
      await upload(config, apart, sizes, false),
    );
  });
});

describe('biases of projections in one matrix', () => {
  const random = seededRandom(1);
  const all = SIZES.q + 2 * SIZES.kv;
  const bias = { name: 'a.qkv_proj.bias', dtype: 'BF16', shape: [all] } as const;
  const ones = Uint16Array.from({ length: all }, (_, i) => 0x3f80 + i);
  const others = [
    ...plain(random, 'a.qkv_proj', all),
    ...plain(random, 'a.gate_up_proj', 2 * SIZES.gate),
    ...[0, 1, 2].flatMap((e) => [
      ...plain(random, `a.experts.${e}.gate_up_proj`, 2 * SIZES.gate),
      ...plain(random, `a.experts.${e}.down_proj`, SIZES.kv),
    ]),
  ];

  it('are read where the model adds them', async () => {
    const tensors = [...others, { ...bias, shape: [all], data: ones }];
    const checkpoint = await open({}, tensors);
    const graph = createGraph(checkpointResolver(checkpoint));
    const names = ['q_proj.bias', 'k_proj.bias', 'v_proj.bias'];
    const vector = new Weights(graph, 'a').vector(names, [SIZES.q, SIZES.kv, SIZES.kv]);
    const weights = await uploadWeights(gpu, checkpoint, [vector]);
    const part = { index: 0, begin: 0, rows: 1 };
    const read = await readSection(gpu.buffers, weights, vector, 'data', gpu.traits.maxBindingBytes);
    expect(weights.buffer(vector, 'data', part).size).toBe(4 * all);
    weights.dispose();
    expect([...new Uint32Array(read.buffer)]).toEqual([...ones].map((half) => half * 2 ** 16));
    await expect(upload({}, tensors, SIZES, true)).resolves.toBeDefined();
  });

  it('are refused where it does not, unless they are zeros', async () => {
    await expect(
      upload({}, [...others, { ...bias, shape: [all], data: ones }], SIZES, false),
    ).rejects.toThrow(/a\.qkv_proj\.bias is not zero/);
    await expect(upload({}, [...others, { ...bias, shape: [all] }], SIZES, false)).resolves.toBeDefined();
  });
});

describe('before anything is downloaded, what cannot be cut is refused', () => {
  const resolve = async (config: object, tensors: TensorToWrite[], sizes: number[], role = 'projection') => {
    const w = new Weights(createGraph(checkpointResolver(await open(config, tensors))), 'a');
    if (role === 'expert') return w.experts(EXPERTS, ['gate_proj', 'up_proj'], sizes, COLS, 'interleaved');
    return w.matrix(['gate_proj', 'up_proj'], sizes, COLS, { layout: 'interleaved' });
  };
  const random = seededRandom(1);
  const gptq = { quantization_config: { quant_method: 'gptq', bits: 4, group_size: 32 } };

  it.each<[string, object, TensorToWrite[], number[], new (message: string) => Error, RegExp]>([
    [
      'by inputs',
      gptq,
      integers(published.gptq, 4)(random, 'a.gate_up_proj', 80),
      [40, 40],
      UnsupportedConfigError,
      /a\.gate_up_proj\.qweight has shape \[20,80\], of which rows 0 to 40 of 80 cannot be read/,
    ],
    [
      'in the middle of a block',
      {},
      fp8(random, 'a.gate_up_proj', 400),
      [200, 200],
      UnsupportedConfigError,
      /a\.gate_up_proj\.weight_scale_inv has shape \[4,2\], of which rows 200 to 400 of 400/,
    ],
    [
      'of other sizes',
      {},
      plain(random, 'a.gate_up_proj', 96),
      [40, 40],
      WeightMismatchError,
      /a\.gate_up_proj\.weight has shape \[96,160\], config\.json wants 80 rows/,
    ],
  ])('%s', async (_, config, tensors, sizes, ErrorClass, message) => {
    const resolving = resolve(config, tensors, sizes);
    await expect(resolving).rejects.toThrow(ErrorClass);
    await expect(resolving).rejects.toThrow(message);
  });

  it.each<[string, number[], RegExp]>([
    [
      'experts that are too few',
      [2, 80, COLS],
      /a\.experts\.gate_up_proj has shape \[2,80,160\], config\.json wants 3 experts/,
    ],
    ['experts that are too many', [4, 80, COLS], /has shape \[4,80,160\], config\.json wants 3 experts/],
    ['experts turned over', [EXPERTS, COLS, 80], /\[0\] has shape \[160,80\], config\.json wants 80 rows/],
    ['experts of other columns', [EXPERTS, 80, 128], /config\.json wants \[40,160\]/],
  ])('%s', async (_, shape, message) => {
    const tensors: TensorToWrite[] = [{ name: 'a.experts.gate_up_proj', dtype: 'BF16', shape }];
    const resolving = resolve({}, tensors, [40, 40], 'expert');
    await expect(resolving).rejects.toThrow(WeightMismatchError);
    await expect(resolving).rejects.toThrow(message);
  });
});
