import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { UnknownArchitectureError, UnsupportedConfigError } from '../../src/errors.ts';
import { familyOf } from '../../src/models/index.ts';

const base = JSON.parse(
  readFileSync(new URL('../fixtures/configs/qwen3-0.6b/config.json', import.meta.url), 'utf8'),
) as Record<string, unknown>;
const readConfig = (change: Record<string, unknown>) => {
  const json = { ...base, ...change };
  return familyOf(json).config(json);
};

describe('config.json', () => {
  it.each([
    ['an unknown key', { logit_softcap: 30 }, /logit_softcap: 30/],
    ['another activation', { hidden_act: 'gelu' }, /hidden_act is "gelu"/],
    ['sliding windows in use', { use_sliding_window: true }, /use_sliding_window is true/],
    ['layers of another kind', { layer_types: ['full_attention', 'sliding_attention'] }, /sliding_attention/],
    ['a missing size', { hidden_size: undefined }, /hidden_size is undefined/],
    ['a size that is no number', { num_hidden_layers: '28' }, /num_hidden_layers is "28"/],
    ['a negative size', { vocab_size: -1 }, /vocab_size is -1/],
    ['heads that do not divide', { num_key_value_heads: 3 }, /num_key_value_heads 3/],
    ['an odd head size', { head_dim: 30 }, /head_dim is 30/],
    ['a rotary type of other families', { rope_scaling: { rope_type: 'longrope', factor: 4 } }, /longrope/],
  ])('with %s is refused by name', (_, change, message) => {
    expect(() => readConfig(change)).toThrow(UnsupportedConfigError);
    expect(() => readConfig(change)).toThrow(message);
  });

  it.each([
    { unsloth_fixed: true },
    { torch_dtype: 'float16' },
    { rope_scaling: null },
    { _name_or_path: 'x' },
    { layer_types: ['full_attention'] },
    { quantization_config: { quant_method: 'fp8', weight_block_size: [128, 128] } },
  ])('with %j, which does not change the arithmetic, is accepted', (change) => {
    expect(() => readConfig(change)).not.toThrow();
  });

  it('of an unknown architecture names it and what is known', () => {
    expect(() => familyOf({ architectures: ['LlamaForCausalLM'] })).toThrow(UnknownArchitectureError);
    expect(() => familyOf({ architectures: ['LlamaForCausalLM'] })).toThrow(
      /LlamaForCausalLM.*Qwen3ForCausalLM/,
    );
    expect(() => familyOf({})).toThrow(UnknownArchitectureError);
    expect(() => familyOf({ architectures: 'Qwen3ForCausalLM' })).toThrow(UnknownArchitectureError);
  });
});
