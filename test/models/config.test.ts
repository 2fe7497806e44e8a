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
    [
      'another activation',
      { hidden_act: 'relu2' },
      /hidden_act is "relu2", wanted one of silu, swish, gelu, gelu_new, gelu_pytorch_tanh/,
    ],
    ['an activation that is a method of objects', { hidden_act: 'toString' }, /hidden_act is "toString"/],
    [
      'sliding windows of no length',
      { use_sliding_window: true, max_window_layers: 0 },
      /sliding_window is null/,
    ],
    [
      'layers of another kind',
      { layer_types: Array(28).fill('chunked_attention') },
      /chunked_attention.*"full_attention" or "sliding_attention" for each of 28 layers/,
    ],
    ['kinds of other layers than it has', { layer_types: ['full_attention'] }, /for each of 28 layers/],
    [
      'kinds of layers that are no list',
      { layer_types: 'full_attention' },
      /layer_types has "full_attention"/,
    ],
    ['windows from no layer on', { max_window_layers: -1 }, /max_window_layers is -1/],
    ['a missing size', { hidden_size: undefined }, /hidden_size is undefined/],
    ['a size that is no number', { num_hidden_layers: '28' }, /num_hidden_layers is "28"/],
    ['a negative size', { vocab_size: -1 }, /vocab_size is -1/],
    ['heads that do not divide', { num_key_value_heads: 3 }, /num_key_value_heads 3/],
    ['an odd head size', { head_dim: 30 }, /head_dim is 30/],
    ['a rotary type of other families', { rope_scaling: { rope_type: 'mrope', factor: 4 } }, /mrope/],
  ])('with %s is refused by name', (_, change, message) => {
    expect(() => readConfig(change)).toThrow(UnsupportedConfigError);
    expect(() => readConfig(change)).toThrow(message);
  });

  it.each([
    { unsloth_fixed: true },
    { torch_dtype: 'float16' },
    { rope_scaling: null },
    { _name_or_path: 'x' },
    { layer_types: Array(28).fill('full_attention') },
    { use_sliding_window: false, sliding_window: 4096, max_window_layers: 21 },
    { quantization_config: { quant_method: 'fp8', weight_block_size: [128, 128] } },
  ])('with %j, which does not change the arithmetic, is accepted', (change) => {
    expect(() => readConfig(change)).not.toThrow();
  });

  it.each([
    [undefined, 'silu'],
    ['silu', 'silu'],
    ['swish', 'silu'],
    ['gelu', 'gelu'],
    ['gelu_new', 'gelu_tanh'],
    ['gelu_pytorch_tanh', 'gelu_tanh'],
  ])('with hidden_act %j gates by %s', (hidden_act, hiddenAct) => {
    expect(readConfig({ hidden_act })).toMatchObject({ hiddenAct });
  });

  describe('says which layers see a window', () => {
    const full = 'full_attention';
    const sliding = 'sliding_attention';
    const layers = { num_hidden_layers: 4, sliding_window: 48 };
    it.each<[string, Record<string, unknown>, (number | undefined)[]]>([
      ['none by itself', {}, [undefined, undefined, undefined, undefined]],
      ['none where it is off', { max_window_layers: 0 }, [undefined, undefined, undefined, undefined]],
      [
        'those from max_window_layers on',
        { use_sliding_window: true, max_window_layers: 2 },
        [undefined, undefined, 48, 48],
      ],
      [
        'none where no layer is left',
        { use_sliding_window: true, max_window_layers: 4 },
        Array(4).fill(undefined),
      ],
      [
        'none where nothing says from where on',
        { use_sliding_window: true, max_window_layers: undefined },
        Array(4).fill(undefined),
      ],
      ['all from the first on', { use_sliding_window: true, max_window_layers: 0 }, [48, 48, 48, 48]],
      [
        'what layer_types says',
        { layer_types: [sliding, full, sliding, full] },
        [48, undefined, 48, undefined],
      ],
      [
        'what layer_types says, whatever else does',
        { layer_types: [full, full, full, sliding], use_sliding_window: true, max_window_layers: 0 },
        [undefined, undefined, undefined, 48],
      ],
    ])('%s', (_, change, layerWindows) => {
      const config = readConfig({ ...layers, ...change });
      expect(config).toMatchObject({ layerWindows });
      // Layers that see everything come first, and are there even where no layer is one.
      expect(config.windows).toEqual(layerWindows.includes(48) ? [undefined, 48] : [undefined]);
    });
    it('and needs no length where none does', () => {
      expect(
        readConfig({ sliding_window: null, use_sliding_window: true, max_window_layers: 28 }).windows,
      ).toEqual([undefined]);
    });
  });

  it('of an unknown architecture names it and what is known', () => {
    expect(() => familyOf({ architectures: ['BertForMaskedLM'] })).toThrow(UnknownArchitectureError);
    expect(() => familyOf({ architectures: ['BertForMaskedLM'] })).toThrow(
      /BertForMaskedLM.*Qwen3ForCausalLM/,
    );
    expect(() => familyOf({})).toThrow(UnknownArchitectureError);
    expect(() => familyOf({ architectures: 'Qwen3ForCausalLM' })).toThrow(UnknownArchitectureError);
  });
});
