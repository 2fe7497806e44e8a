/** What a config.json alone tells of formats: as many bytes as its files have, and the same refusals as loading them. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { MixedFormatsError, UnsupportedConfigError } from '../../src/errors.ts';
import { folder } from '../../src/node.ts';
import { estimate } from '../../src/runtime/load/estimate.ts';
import { announcedResolver } from '../../src/weights/announced.ts';
import { openCheckpoint } from '../../src/weights/checkpoint.ts';
import { formats } from '../../src/weights/formats.ts';
import * as quantised from '../../src/weights/quantised.ts';
import { checkpointResolver } from '../../src/weights/resolve.ts';
import { wantedWeight } from './wanted-weight.ts';

const GOLDENS = new URL('../fixtures/goldens/', import.meta.url);
const names = readdirSync(GOLDENS).filter((name) => existsSync(new URL(`${name}/config.json`, GOLDENS)));
const options = { capacity: 64, kvFormat: 'f16', prefillRows: 16, maxBindingBytes: 2 ** 30 } as const;

test.each(names)(
  '%s: a plan of its config.json has as many bytes of weights as one of its files',
  async (name) => {
    const checkpoint = await openCheckpoint(folder(new URL(name, GOLDENS).pathname));
    const config = JSON.parse(readFileSync(new URL(`${name}/config.json`, GOLDENS), 'utf8'));
    const bytesWith = (resolve: ReturnType<typeof checkpointResolver>) =>
      estimate(config, resolve, options).estimate.weightBytes;
    expect(bytesWith(announcedResolver(config))).toBe(bytesWith(checkpointResolver(checkpoint)));
  },
);

describe('dtype', () => {
  const matrix = wantedWeight(['x.weight'], [[64, 64]]);
  test.each([
    [{ torch_dtype: 'float32' }, formats.f32],
    [{ dtype: 'float16' }, formats.f16],
    [{ dtype: 'float32', torch_dtype: 'bfloat16' }, formats.f32],
    [{ torch_dtype: 'torch.float16' }, formats.f16],
    [{ torch_dtype: null }, formats.bf16],
    [{ torch_dtype: 'auto' }, formats.bf16],
    [{}, formats.bf16],
  ])('%j', (config, format) => {
    expect(announcedResolver(config)(matrix)).toBe(format);
    expect(announcedResolver(config)(wantedWeight(['norm.weight'], [[64]]))).toBe(formats.f32);
  });

  test('is that of what a quantised checkpoint leaves alone', () => {
    const quantization_config = { quant_method: 'gptq', bits: 4, group_size: 32 };
    const resolve = announcedResolver({ torch_dtype: 'float16', quantization_config });
    expect(resolve(wantedWeight(['head.weight'], [[64, 64]], 'head'))).toBe(formats.f16);
    expect(resolve(matrix).name).toBe('int4-32-f16-zero');
  });

  test.each(['int8', 7, 'toString'])('%j is refused', (torch_dtype) => {
    expect(() => announcedResolver({ torch_dtype })).toThrow(UnsupportedConfigError);
    expect(() => announcedResolver({ torch_dtype })).toThrow(/torch_dtype is .*, wanted one of bfloat16, /);
  });
});

describe('what loading refuses is refused in the same words', () => {
  test.each<object>([
    { quantization_config: { quant_method: 'modelopt', quant_algo: 'NVFP4' } },
    { quantization_config: { quant_method: 'compressed-tensors', format: 'nvfp4-pack-quantized' } },
    { quantization_config: { quant_method: 'bitsandbytes', load_in_4bit: true } },
    { quantization_config: { quant_method: 'mxfp4' } },
    { quantization: { bits: 7, group_size: 64 } },
    { quantization: { bits: 4, group_size: 32, mode: 'mxfp4' } },
    { quantization_config: { load_in_8bit: true } },
  ])('%j', (config) => {
    const errorOf = (run: () => unknown): unknown => {
      try {
        return run();
      } catch (error) {
        return error;
      }
    };
    const planned = errorOf(() => announcedResolver({ ...config }));
    expect(planned).toBeInstanceOf(UnsupportedConfigError);
    expect(planned).toEqual(
      errorOf(() => checkpointResolver({ config: { ...config }, tensors: new Map(), quantised })),
    );
  });
});

test('modules with bits of their own have them, and are no longer one with others', () => {
  const v = 'model.layers.0.self_attn.v_proj';
  const resolve = announcedResolver({ quantization: { bits: 4, group_size: 64, [v]: { bits: 8 } } });
  const of = (...modules: string[]) =>
    resolve(
      wantedWeight(
        modules.map((module) => `${module}.weight`),
        modules.map(() => [64, 128]),
      ),
    );
  expect(of(v).name).toBe('int8-64-bf16-bias');
  expect(of('model.layers.1.self_attn.v_proj').name).toBe('int4-64-bf16-bias');
  expect(() => of('model.layers.0.self_attn.q_proj', v)).toThrow(MixedFormatsError);
});
