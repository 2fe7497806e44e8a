/** Integer checkpoints: what their names, shapes and types make of a matrix, before a byte of it is read. */
import { describe, expect, test } from 'vitest';
import { MissingWeightError, UnsupportedConfigError, WeightMismatchError } from '../../src/errors.ts';
import type { WeightRole } from '../../src/graph/weight.ts';
import type { TensorEntry } from '../../src/weights/checkpoint.ts';
import { formats } from '../../src/weights/formats.ts';
import { type IntLayout, intFormat } from '../../src/weights/int-format.ts';
import * as quantised from '../../src/weights/quantised.ts';
import { checkpointResolver } from '../../src/weights/resolve.ts';
import type { SafetensorsDtype } from '../../src/weights/safetensors.ts';
import { findStored } from '../../src/weights/stored.ts';
import { f16Value } from '../kernels/harness.ts';
import { wantedWeight } from './wanted-weight.ts';

type Stored = Record<string, readonly [dtype: SafetensorsDtype, ...shape: number[]]>;

function resolve(
  config: object,
  stored: Stored,
  names = ['m.weight'],
  shape = [64, 256],
  role: WeightRole = 'projection',
) {
  const entries = Object.entries(stored).map(([name, [dtype, ...shape]]): [string, TensorEntry] => [
    name,
    { name, dtype, shape, begin: 0, end: 0, file: 'model.safetensors' },
  ]);
  return checkpointResolver({ config: { ...config }, tensors: new Map(entries), quantised })(
    wantedWeight(
      names,
      names.map(() => shape),
      role,
    ),
  );
}

const gptqConfig = (more: object = {}) => ({
  quantization_config: { quant_method: 'gptq', bits: 4, group_size: 64, ...more },
});
const gptq = {
  'm.qweight': ['I32', 32, 64],
  'm.qzeros': ['I32', 4, 8],
  'm.scales': ['F16', 4, 64],
  'm.g_idx': ['I32', 256],
} satisfies Stored;
const gptq8 = { ...gptq, 'm.qweight': ['I32', 64, 64], 'm.qzeros': ['I32', 4, 16] } satisfies Stored;
const awqConfig = { quantization_config: { quant_method: 'awq', bits: 4, group_size: 128, version: 'gemm' } };
const awq = {
  'm.qweight': ['I32', 256, 8],
  'm.qzeros': ['I32', 2, 8],
  'm.scales': ['F16', 2, 64],
} satisfies Stored;
const mlxConfig = { quantization: { bits: 4, group_size: 64, m8: { bits: 8, group_size: 32 } } };
const mlx = {
  'm.weight': ['U32', 64, 32],
  'm.scales': ['BF16', 64, 4],
  'm.biases': ['BF16', 64, 4],
} satisfies Stored;
const compressedConfig = (bits: number, groupSize?: number) => ({
  quantization_config: {
    quant_method: 'compressed-tensors',
    format: 'pack-quantized',
    config_groups: {
      g: {
        weights: { num_bits: bits, strategy: groupSize ? 'group' : 'channel', group_size: groupSize ?? null },
      },
    },
  },
});
const packed = {
  'm.weight_packed': ['I32', 64, 32],
  'm.weight_shape': ['I64', 2],
  'm.weight_scale': ['BF16', 64, 2],
} satisfies Stored;
const signed = { 'm.weight': ['I8', 64, 256], 'm.weight_scale': ['BF16', 64, 1] } satisfies Stored;

describe('an integer matrix stays as narrow as it is stored', () => {
  test.each<[string, object, Stored, IntLayout]>([
    ['GPTQ int4', gptqConfig(), gptq, { bits: 4, groupSize: 64, words: 'f16-zero' }],
    [
      'GPTQ int4 with scales in bf16',
      gptqConfig(),
      { ...gptq, 'm.scales': ['BF16', 4, 64] },
      { bits: 4, groupSize: 64, words: 'bf16-zero' },
    ],
    ['GPTQ int8', gptqConfig({ bits: 8 }), gptq8, { bits: 8, groupSize: 64, words: 'f16-zero' }],
    [
      'GPTQ with bits of its own',
      gptqConfig({ dynamic: { '+:m': { bits: 8 } } }),
      gptq8,
      { bits: 8, groupSize: 64, words: 'f16-zero' },
    ],
    [
      'GPTQ in any order',
      gptqConfig({ desc_act: true }),
      gptq,
      { bits: 4, groupSize: 64, words: 'f16-zero', anyGroup: true },
    ],
    [
      'GPTQ with whole rows',
      gptqConfig({ group_size: -1, desc_act: true }),
      { ...gptq, 'm.qzeros': ['I32', 1, 8], 'm.scales': ['F16', 1, 64] },
      { bits: 4, groupSize: undefined, words: 'f16-zero' },
    ],
    ['AWQ', awqConfig, awq, { bits: 4, groupSize: 128, words: 'f16-zero' }],
    ['MLX', mlxConfig, mlx, { bits: 4, groupSize: 64, words: 'bf16-bias' }],
    [
      'MLX in float16',
      mlxConfig,
      { ...mlx, 'm.scales': ['F16', 64, 4], 'm.biases': ['F16', 64, 4] },
      { bits: 4, groupSize: 64, words: 'f16-bias' },
    ],
    ['compressed-tensors int4', compressedConfig(4, 128), packed, { bits: 4, groupSize: 128, words: 'f32' }],
    [
      'compressed-tensors int4 with zero points',
      compressedConfig(4, 128),
      { ...packed, 'm.weight_zero_point': ['I32', 8, 2] },
      { bits: 4, groupSize: 128, words: 'bf16-zero' },
    ],
    ['compressed-tensors int8', compressedConfig(8), signed, { bits: 8, groupSize: undefined, words: 'f32' }],
    [
      'compressed-tensors with one scale',
      compressedConfig(8),
      { ...signed, 'm.weight_scale': ['F32', 1] },
      { bits: 8, groupSize: undefined, words: 'f32' },
    ],
  ])('%s', (_, config, stored, layout) => {
    expect(resolve(config, stored)).toBe(intFormat(layout));
  });

  test('MLX names modules that have bits and groups of their own', () => {
    const stored: Stored = {
      'm8.weight': ['U32', 64, 64],
      'm8.scales': ['BF16', 64, 8],
      'm8.biases': ['BF16', 64, 8],
    };
    expect(resolve(mlxConfig, stored, ['m8.weight'])).toBe(
      intFormat({ bits: 8, groupSize: 32, words: 'bf16-bias' }),
    );
  });

  test.each([
    ['MLX', mlxConfig],
    ['GPTQ', gptqConfig()],
    ['AWQ', awqConfig],
    ['compressed-tensors', compressedConfig(4, 128)],
  ])('%s: a matrix that was left alone is what it is, whatever the config says', (_, config) => {
    expect(resolve(config, { 'm.weight': ['BF16', 64, 256] })).toBe(formats.bf16);
  });
});

describe('experts in one tensor are found under the names of families', () => {
  const names = [0, 1, 2].map((e) => `mlp.experts.${e}.up.weight`);
  const resolveExperts = (config: object, stored: Stored) =>
    resolve(config, stored, names, [64, 256], 'expert');
  const stack = (shape: number[]): Stored => ({ 'mlp.switch_mlp.up.weight': ['BF16', ...shape] });

  test('plain', () => {
    expect(resolveExperts({}, stack([3, 64, 256]))).toBe(formats.bf16);
  });

  test('quantised', () => {
    const stored: Stored = {
      'mlp.switch_mlp.up.weight': ['U32', 3, 64, 32],
      'mlp.switch_mlp.up.scales': ['BF16', 3, 64, 4],
      'mlp.switch_mlp.up.biases': ['BF16', 3, 64, 4],
    };
    expect(resolveExperts(mlxConfig, stored)).toBe(intFormat({ bits: 4, groupSize: 64, words: 'bf16-bias' }));
  });

  test('with scales for each of them', () => {
    const stored: Stored = {
      'mlp.switch_mlp.up.weight': ['U32', 3, 64, 32],
      'mlp.switch_mlp.up.scales': ['BF16', 4, 64, 4],
      'mlp.switch_mlp.up.biases': ['BF16', 3, 64, 4],
    };
    expect(() => resolveExperts(mlxConfig, stored)).toThrow(WeightMismatchError);
    expect(() => resolveExperts(mlxConfig, stored)).toThrow(/switch_mlp\.up\.scales has shape \[4,64,4\]/);
  });

  test.each([
    [2, /mlp\.switch_mlp\.up\.weight has shape \[2,64,256\], config\.json wants 3 experts/],
    [4, /mlp\.switch_mlp\.up\.weight has shape \[4,64,256\], config\.json wants 3 experts/],
  ])('%i where the model has 3 are refused', (count, message) => {
    expect(() => resolveExperts({}, stack([count, 64, 256]))).toThrow(WeightMismatchError);
    expect(() => resolveExperts({}, stack([count, 64, 256]))).toThrow(message);
  });
});

describe('before anything is downloaded, an integer matrix is refused', () => {
  const without = (stored: Stored, name: string): Stored =>
    Object.fromEntries(Object.entries(stored).filter(([other]) => other !== name));
  test.each<[string, object, Stored, new (message: string) => Error, RegExp]>([
    ['GPTQ without scales', gptqConfig(), without(gptq, 'm.scales'), MissingWeightError, /no m\.scales/],
    ['GPTQ without zero points', gptqConfig(), without(gptq, 'm.qzeros'), MissingWeightError, /no m\.qzeros/],
    [
      'GPTQ in any order, without the order',
      gptqConfig({ desc_act: true }),
      without(gptq, 'm.g_idx'),
      MissingWeightError,
      /no m\.g_idx/,
    ],
    [
      'GPTQ of other bits than the config says',
      gptqConfig({ bits: 8 }),
      gptq,
      WeightMismatchError,
      /m\.qweight .* makes 4 bits, and config\.json says 8/,
    ],
    [
      'GPTQ of other groups than the config says',
      gptqConfig({ group_size: 128 }),
      gptq,
      WeightMismatchError,
      /m\.scales has shape \[4,64\], config\.json wants \[2,64\]/,
    ],
    [
      'GPTQ with groups that end within a block',
      gptqConfig({ dynamic: { m: {} } }),
      { ...gptq, 'm.qzeros': ['I32', 16, 8], 'm.scales': ['F16', 16, 64] },
      WeightMismatchError,
      /m\.scales .* groups of 16/,
    ],
    [
      'GPTQ with a short order',
      gptqConfig(),
      { ...gptq, 'm.g_idx': ['I32', 255] },
      WeightMismatchError,
      /m\.g_idx has shape \[255\]/,
    ],
    [
      'AWQ with the shapes of GPTQ',
      awqConfig,
      gptq,
      WeightMismatchError,
      /m\.qweight has shape \[32,64\], config\.json wants \[256,8\]/,
    ],
    ['GPTQ without a config', {}, gptq, UnsupportedConfigError, /m\.qweight is packed as GPTQ or AWQ/],
    ['MLX without a config', {}, mlx, UnsupportedConfigError, /m\.weight is stored as U32/],
    ['MLX without biases', mlxConfig, without(mlx, 'm.biases'), MissingWeightError, /no m\.biases/],
    [
      'MLX of other bits than the config says',
      mlxConfig,
      { ...mlx, 'm.weight': ['U32', 64, 64] },
      WeightMismatchError,
      /m\.weight has shape \[64,64\], config\.json wants \[64,32\]/,
    ],
    [
      'MLX whose biases are no scales',
      mlxConfig,
      { ...mlx, 'm.biases': ['F16', 64, 4] },
      WeightMismatchError,
      /m\.biases is stored as F16, wanted BF16/,
    ],
    [
      'compressed-tensors without scales',
      compressedConfig(8),
      without(signed, 'm.weight_scale'),
      MissingWeightError,
      /no m\.weight_scale/,
    ],
    [
      'compressed-tensors of other groups than the config says',
      compressedConfig(4, 64),
      packed,
      WeightMismatchError,
      /m\.weight_scale has shape \[64,2\]/,
    ],
    [
      'compressed-tensors with columns in any order',
      compressedConfig(4, 128),
      { ...packed, 'm.weight_g_idx': ['I32', 256] },
      UnsupportedConfigError,
      /m\.weight_g_idx/,
    ],
    [
      'compressed-tensors with zero points of another shape',
      compressedConfig(4, 128),
      { ...packed, 'm.weight_zero_point': ['I8', 64, 2] },
      WeightMismatchError,
      /m\.weight_zero_point has shape \[64,2\], config\.json wants \[8,2\]/,
    ],
  ])('%s', (_, config, stored, ErrorClass, message) => {
    expect(() => resolve(config, stored)).toThrow(ErrorClass);
    expect(() => resolve(config, stored)).toThrow(message);
  });

  test('AWQ with inputs that fill no words', () => {
    const config = { quantization_config: { quant_method: 'awq', bits: 4, group_size: -1 } };
    const stored: Stored = {
      'm.qweight': ['I32', 252, 8],
      'm.qzeros': ['I32', 1, 8],
      'm.scales': ['F16', 1, 64],
    };
    expect(() => resolve(config, stored, ['m.weight'], [64, 252])).toThrow(WeightMismatchError);
  });

  test('that shares a matrix with one of other bits', () => {
    const stored: Stored = {
      ...mlx,
      'm8.weight': ['U32', 64, 64],
      'm8.scales': ['BF16', 64, 8],
      'm8.biases': ['BF16', 64, 8],
    };
    const run = () => resolve(mlxConfig, stored, ['m.weight', 'm8.weight']);
    expect(run).toThrow(WeightMismatchError);
    expect(run).toThrow(/m\.weight is stored as U32 \(int4-64-bf16-bias\) and m8\.weight is stored as U32/);
  });
});

describe('zero points of GPTQ', () => {
  /** The zero points that come of words of stored ones. */
  function zerosOf(config: object, stored: number): number[] {
    const entries = Object.entries(gptq).map(([name, [dtype, ...shape]]): [string, TensorEntry] => [
      name,
      { name, dtype, shape, begin: 0, end: 0, file: 'model.safetensors' },
    ]);
    const find = findStored({ config: gptqConfig(config), tensors: new Map(entries), quantised });
    const { pieces } = find(wantedWeight(['m.weight'], [[64, 256]], 'projection'), 0);
    const piece = pieces.find((p) => p.lies === 'columns' && p.tensor.name === 'm.qzeros') as {
      pack(bytes: Uint8Array): Uint8Array<ArrayBuffer>;
    };
    const words = new Uint32Array(piece.pack(new Uint8Array(Uint32Array.of(stored).buffer)).buffer);
    return [...words].map((word) => f16Value(word >>> 16));
  }

  test('are the middle of the range where config.json says sym, in either way that files store them', () => {
    for (const stored of [0x77777777, 0x88888888]) {
      expect(zerosOf({ sym: true, checkpoint_format: 'gptq' }, stored)).toEqual(Array(8).fill(8));
      expect(zerosOf({ sym: true, checkpoint_format: 'gptq_v2' }, stored)).toEqual(Array(8).fill(8));
    }
    expect(() => zerosOf({ sym: true }, 0x12345678)).toThrow(WeightMismatchError);
    expect(() => zerosOf({ sym: true }, 0x12345678)).toThrow(
      /m\.qzeros has the zero point 6, although .* sym: true/,
    );
  });

  test('are what is stored, and one more in the first format, elsewhere', () => {
    expect(zerosOf({ sym: false }, 0x87654321)).toEqual([2, 3, 4, 5, 6, 7, 8, 9]);
    expect(zerosOf({}, 0x77777777)).toEqual(Array(8).fill(8));
    expect(zerosOf({ checkpoint_format: 'gptq_v2' }, 0x87654321)).toEqual([1, 2, 3, 4, 5, 6, 7, 8]);
    expect(zerosOf({ sym: true, dynamic: { '-:lm_head': {} } }, 0x12345678)[0]).toBe(9);
  });
});
