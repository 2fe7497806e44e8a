import { describe, expect, test } from 'vitest';
import {
  MissingWeightError,
  ShapeError,
  UnsupportedConfigError,
  WeightMismatchError,
} from '../../src/errors.ts';
import { createGraph, createTensor } from '../../src/graph/graph.ts';
import { route } from '../../src/graph/ops/experts.ts';
import { linear } from '../../src/graph/ops/linear.ts';
import { type WeightRole, Weights } from '../../src/graph/weight.ts';
import type { TensorEntry } from '../../src/weights/checkpoint.ts';
import { formats } from '../../src/weights/formats.ts';
import * as quantised from '../../src/weights/quantised.ts';
import { checkpointResolver, uniformResolver, type WantedFormat } from '../../src/weights/resolve.ts';
import type { SafetensorsDtype } from '../../src/weights/safetensors.ts';
import { wantedWeight } from './wanted-weight.ts';

type Stored = readonly [dtype: SafetensorsDtype, ...shape: number[]];

function resolve(
  stored: Record<string, Stored>,
  names: readonly string[],
  config = {},
  missing: readonly string[] = [],
) {
  const entries = Object.entries(stored).map(([name, [dtype, ...shape]]): [string, TensorEntry] => [
    name,
    { name, dtype, shape, begin: 0, end: 0, file: 'model.safetensors' },
  ]);
  const shapes = names.map((name) => stored[name]?.slice(1) as number[]);
  const tensors = new Map(entries.filter(([name]) => !missing.includes(name)));
  return checkpointResolver({ config, tensors, quantised })(wantedWeight(names, shapes));
}

const blockwise = { quant_method: 'fp8', weight_block_size: [128, 128] };

describe('a matrix is kept as it is stored', () => {
  test.each([
    ['BF16', formats.bf16],
    ['F16', formats.f16],
    ['F32', formats.f32],
    ['F64', formats.f32],
  ] as const)('%s', (dtype, format) => {
    expect(resolve({ 'a.weight': [dtype, 4, 8] }, ['a.weight'])).toBe(format);
  });

  test('16-bit pieces of different types meet in f32', () => {
    const stored = { 'a.weight': ['BF16', 4, 8], 'b.weight': ['F16', 4, 8] } as const;
    expect(resolve(stored, ['a.weight', 'b.weight'])).toBe(formats.f32);
  });

  test.each(['F32', 'BF16', 'F16'] as const)('float8 with scales in %s', (dtype) => {
    const stored = { 'a.weight': ['F8_E4M3', 200, 144], 'a.weight_scale_inv': [dtype, 2, 2] } as const;
    expect(resolve(stored, ['a.weight'], { quantization_config: blockwise })).toBe(formats.fp8);
    // With a name of their own, for every row or for the whole matrix.
    for (const shape of [[2, 2], [200, 1], [200], [1], []]) {
      const others = { 'a.weight': stored['a.weight'], 'a.weight_scale': [dtype, ...shape] } as const;
      expect(resolve(others, ['a.weight'])).toBe(formats.fp8);
    }
    // What is stored decides, also where config.json says nothing.
    expect(resolve(stored, ['a.weight'])).toBe(formats.fp8);
  });

  test('a 16-bit matrix of a float8 checkpoint stays 16-bit, whatever modules the config lists', () => {
    const config = { quantization_config: { ...blockwise, modules_to_not_convert: ['lm_head'] } };
    expect(resolve({ 'mlp.gate.weight': ['BF16', 8, 64] }, ['mlp.gate.weight'], config)).toBe(formats.bf16);
  });
});

const autoRound = {
  quant_method: 'auto-round',
  packing_format: 'auto_round:auto_gptq',
  bits: 4,
  group_size: 128,
  sym: true,
};

describe('quantization_config', () => {
  test.each([
    undefined,
    null,
    blockwise,
    { quant_method: 'fp8', activation_scheme: 'static' },
    { quant_method: 'gptq', bits: 8, group_size: -1, desc_act: true, checkpoint_format: 'gptq_v2' },
    { quant_method: 'awq', bits: 4, group_size: 64, version: 'gemm', zero_point: true },
    { bits: 4, group_size: 32, mode: 'affine', 'model.layers.0.mlp.gate': { bits: 8 } },
    { ...blockwise, fmt: 'e4m3', activation_scheme: 'dynamic' },
    { quant_method: 'fbgemm_fp8', activation_scale_ub: 1200, modules_to_not_convert: ['lm_head'] },
    { quant_method: 'modelopt', quant_algo: 'FP8', kv_cache_quant_algo: 'FP8' },
    autoRound,
    { ...autoRound, packing_format: 'auto_gptq', extra_config: { lm_head: { bits: 16 } } },
    { ...autoRound, packing_format: 'auto_round:auto_awq', sym: false },
    {
      quant_method: 'compressed-tensors',
      format: 'naive-quantized',
      config_groups: { group_0: { weights: { num_bits: 8, type: 'float', strategy: 'channel' } } },
    },
    ...[2, 3, 5, 6].map((bits) => ({ bits, group_size: 64 })),
    {
      ...blockwise,
      fmt: 'e4m3',
      activation_scheme: 'static',
      scale_fmt: 'ue8m0',
      modules_to_not_convert: [],
    },
  ])('%j is read', (quantization_config) => {
    const stored = { 'a.weight': ['BF16', 4, 8] } as const;
    expect(resolve(stored, ['a.weight'], { quantization_config })).toBe(formats.bf16);
  });

  test.each([
    [{ quant_method: 'bitsandbytes', load_in_4bit: true }, '"quant_method":"bitsandbytes"'],
    [{ quant_method: 'gptq', bits: 3, group_size: 128 }, '"bits":3'],
    [{ quant_method: 'gptq', bits: 4, group_size: 100 }, '"group_size":100'],
    [{ quant_method: 'gptq', bits: 4, group_size: 128, checkpoint_format: 'marlin' }, 'marlin'],
    [{ quant_method: 'awq', bits: 4, group_size: 128, version: 'gemv' }, '"version":"gemv"'],
    [{ quant_method: 'compressed-tensors', format: 'marlin-24' }, 'marlin-24'],
    [{ quant_method: 'compressed-tensors', format: 'pack-quantized' }, 'compressed-tensors'],
    [{ bits: 7, group_size: 64 }, '"bits":7'],
    [{ bits: 4, group_size: 32, mode: 'mxfp4' }, 'mxfp4'],
    [{ bits: 4, group_size: 64, lm_head: { bits: 1 } }, '"lm_head":{"bits":1}'],
    [{ quant_method: 'modelopt', quant_algo: 'NVFP4' }, '"quant_algo":"NVFP4"'],
    [{ quant_method: 'modelopt' }, '"quant_method":"modelopt"'],
    [{ quant_method: 'mxfp4' }, '"quant_method":"mxfp4"'],
    [{ ...autoRound, packing_format: 'auto_round:exllamav2' }, 'exllamav2'],
    [{ ...autoRound, packing_format: undefined }, '"quant_method":"auto-round"'],
    // Whether zero points are stored as they are or less one is not certain.
    [{ ...autoRound, sym: false }, '"sym":false'],
    [{ ...autoRound, extra_config: { q: { bits: 8 } } }, '"extra_config"'],
    [{ ...autoRound, data_type: 'mx_fp' }, 'mx_fp'],
    [{ quant_method: 'compressed-tensors', format: 'nvfp4-pack-quantized' }, 'nvfp4-pack-quantized'],
    [{ ...blockwise, weight_block_size: [1, 128] }, '[1,128]'],
    [{ ...blockwise, fmt: 'e5m2' }, 'e5m2'],
    ['fp8', '"fp8"'],
    [{}, '{}'],
    [{ load_in_4bit: true, bnb_4bit_quant_type: 'nf4' }, '{"load_in_4bit":true,"bnb_4bit_quant_type":"nf4"}'],
    [{ bits: 4, group_size: -1 }, '"group_size":-1'],
  ])('%j is refused with what was found and what works', (quantization_config, found) => {
    const run = () => resolve({}, [], { quantization_config });
    expect(run).toThrow(UnsupportedConfigError);
    expect(run).toThrow(found);
    expect(run).toThrow('"weight_block_size":[128,128]');
  });
});

describe('a tensor that is missing is told of with what is there in its place', () => {
  test.each<[string, Record<string, Stored>, RegExp]>([
    [
      'nothing',
      { 'b.weight': ['BF16', 4, 8] },
      /has no tensor a\.weight .*Check that all its files are there/,
    ],
    ['PEFT', { 'base_model.model.a.weight': ['BF16', 4, 8] }, /prefix "base_model\.model\."/],
    [
      'an adapter',
      { 'base_model.model.a.lora_A.weight': ['F32', 4, 8] },
      /this is a LoRA adapter\. Merge it/,
    ],
    [
      'an adapter of others',
      { 'x.lora_B.default.weight': ['F32', 4, 8] },
      /this is a LoRA adapter\. Merge it/,
    ],
    [
      'a format',
      { 'a.weight_hqq': ['U8', 4, 8], 'a.meta': ['U8', 4] },
      /It has a\.weight_hqq, a\.meta instead: a quant/,
    ],
  ])('%s', (_, stored, message) => {
    const run = () => resolve({ 'a.weight': ['BF16', 4, 8], ...stored }, ['a.weight'], {}, ['a.weight']);
    expect(run).toThrow(MissingWeightError);
    expect(run).toThrow(message);
  });
});

describe('before anything is downloaded, a float8 matrix is refused', () => {
  const weight: Stored = ['F8_E4M3', 200, 144];
  test.each<[string, Record<string, Stored>, typeof MissingWeightError, RegExp]>([
    ['without scales', {}, MissingWeightError, /has neither x\.weight_scale_inv \(wanted \[2,2\]/],
    [
      'with scales that are neither for rows nor for blocks',
      { 'x.weight_scale': ['BF16', 144, 1] },
      WeightMismatchError,
      /x\.weight_scale has shape \[144,1\], wanted \[200,1\]/,
    ],
    [
      'with too few scales',
      { 'x.weight_scale_inv': ['F32', 1, 2] },
      WeightMismatchError,
      /x\.weight_scale_inv has shape \[1,2\], config.json wants \[2,2\]/,
    ],
    [
      'with one scale for everything',
      { 'x.weight_scale_inv': ['F32'] },
      WeightMismatchError,
      /x\.weight_scale_inv has shape \[\], config.json wants \[2,2\]/,
    ],
    [
      'with scales that are no floats',
      { 'x.weight_scale_inv': ['U8', 2, 2] },
      WeightMismatchError,
      /x\.weight_scale_inv is stored as U8, wanted one of F32, BF16, F16/,
    ],
  ])('%s', (_, scales, ErrorClass, message) => {
    const run = () => resolve({ 'x.weight': weight, ...scales }, ['x.weight']);
    expect(run).toThrow(ErrorClass);
    expect(run).toThrow(message);
  });

  test('of another float8', () => {
    const stored = { 'x.weight': ['F8_E5M2', 4, 8], 'x.weight_scale_inv': ['F32', 1, 1] } as const;
    expect(() => resolve(stored, ['x.weight'])).toThrow(WeightMismatchError);
    expect(() => resolve(stored, ['x.weight'])).toThrow(/x\.weight is stored as F8_E5M2, wanted one of BF16/);
  });

  test('that is a vector', () => {
    expect(() => resolve({ 'norm.weight': ['F8_E4M3', 8] }, ['norm.weight'])).toThrow(WeightMismatchError);
  });

  test('that shares a matrix with another type', () => {
    const stored = {
      'q.weight': ['BF16', 128, 128],
      'k.weight': ['F8_E4M3', 128, 128],
      'k.weight_scale_inv': ['F32', 1, 1],
    } as const;
    const run = () => resolve(stored, ['q.weight', 'k.weight']);
    expect(run).toThrow(WeightMismatchError);
    expect(run).toThrow(/q\.weight is stored as BF16 \(bf16\) and k\.weight is stored as F8_E4M3 \(fp8\)/);
  });
});

/** A 16-bit matrix of any name, as a family says what it is for. */
const ofRole = (role: WeightRole, name = 'x.weight') => wantedWeight([name], [[256, 256]], role);

describe('planning without a checkpoint', () => {
  test.each([
    ['projection', formats.fp8],
    ['expert', formats.fp8],
    ['router', formats.bf16],
    ['embedding', formats.bf16],
    ['head', formats.bf16],
    ['mtp', formats.bf16],
  ] as const)('in fp8, what is a %s is what publishers make of it', (role, format) => {
    expect(uniformResolver('fp8')(ofRole(role, 'experts.0.x.weight'))).toBe(format);
  });

  test.each(['int4', 'int8'] as const)('in %s, embeddings and routers stay in bf16', (format) => {
    const resolver = uniformResolver(format);
    expect(resolver(ofRole('projection'))).toBe(formats[format]);
    expect(resolver(ofRole('embedding'))).toBe(formats.bf16);
    expect(resolver(ofRole('router'))).toBe(formats.bf16);
  });

  test('in another format every matrix has it, and vectors are f32', () => {
    expect(uniformResolver('f16')(ofRole('head'))).toBe(formats.f16);
    expect(uniformResolver('fp8')(wantedWeight(['model.norm.weight'], [[256]]))).toBe(formats.f32);
  });

  test('an unknown format is refused with the known ones', () => {
    expect(() => uniformResolver('int3')).toThrow(UnsupportedConfigError);
    expect(() => uniformResolver('int3')).toThrow('bf16, f16, f32, fp8, int4, int8');
  });
});

describe('what a matrix becomes while it loads depends on what its family says it is for, not on its name', () => {
  const names = ['model.layers.0.block_sparse_moe.router.weight', 'mlp.gate.weight', 'lm_head.weight'];
  const convert = (name: string, role: WeightRole, wanted: WantedFormat) => {
    const entry: TensorEntry = { name, dtype: 'BF16', shape: [256, 256], begin: 0, end: 0, file: 'x' };
    return checkpointResolver({ config: {}, tensors: new Map([[name, entry]]) }, wanted)(ofRole(role, name));
  };

  test.each(names)('%s', (name) => {
    for (const role of ['router', 'embedding', 'head', 'mtp', 'projection'] as const) {
      const found = (['int4', 'int8', 'f16'] as const).map(
        (wanted) => convert(name, role, wanted).name.split('-')[0],
      );
      if (role === 'router') expect(found).toEqual(['bf16', 'bf16', 'f16']);
      else if (role === 'projection') expect(found).toEqual(['int4', 'int8', 'f16']);
      else expect(found).toEqual(['int8', 'int8', 'f16']);
    }
  });

  test('and a family cannot forget to say it of a router', () => {
    const graph = createGraph(uniformResolver('int4'));
    const w = new Weights(graph);
    const x = createTensor(graph, [1, 64]);
    const routeBy = (name: string, role?: 'router') => {
      const logits = linear(x, w.matrix([name], [8], 64, { role }));
      return route(logits, {
        k: 2,
        scoring: 'softmax',
        numGroups: 1,
        keptGroups: 1,
        groupBest: 1,
        normalize: true,
        scale: 1,
      });
    };
    expect(() => routeBy('mlp.router')).toThrow(ShapeError);
    expect(() => routeBy('mlp.other')).toThrow(
      /route by mlp\.other\.weight: found a projection, wanted the role router/,
    );
    routeBy('mlp.gate', 'router');
    expect(graph.weights.get('mlp.gate.weight')!.format).toBe(formats.bf16);
    expect(() => w.matrix(['mlp.gate'], [8], 64)).toThrow('is asked for as projection, and before as router');
  });
});
