/** @file Rotary tables against the plain formulas, and which configs are refused. */
import { describe, expect, test } from 'vitest';
import { UnsupportedConfigError } from '../../src/errors.ts';
import { anglesChangeBeyond, readRope, ropeAngles } from '../../src/graph/rope.ts';
import phi3 from '../fixtures/goldens/phi3/config.json';
import golden from '../fixtures/goldens/qwen3-dense-untied-yarn/config.json';
import { type RopeNumbers, ropeAngle } from '../reference/rope.ts';

/** Rows of the twin; f32 rounding of values up to `attentionFactor` is all that may differ. */
function expectAngles(
  found: Float32Array,
  numbers: RopeNumbers,
  begin: number,
  sequenceLength: number,
): void {
  const half = numbers.dim / 2;
  const rows = found.length / numbers.dim;
  const wrong: string[] = [];
  for (let row = 0; row < rows; row++) {
    for (let i = 0; i < half; i++) {
      const { cos, sin } = ropeAngle(numbers, begin + row, i, sequenceLength);
      // Angles up to 1e5 radians in f64 are good to 1e-11; the rest is rounding to f32.
      const isNear = (a: number, b: number) => Math.abs(a - b) < 1e-7 * Math.max(1, Math.abs(b));
      const [foundCos, foundSin] = [found[row * 2 * half + i]!, found[row * 2 * half + half + i]!];
      if (!isNear(foundCos, cos) || !isNear(foundSin, sin)) wrong.push(`position ${begin + row} pair ${i}`);
    }
  }
  expect(wrong).toEqual([]);
}

const llama3 = {
  rope_type: 'llama3',
  factor: 8,
  low_freq_factor: 1,
  high_freq_factor: 4,
  original_max_position_embeddings: 8192,
};
const longrope = { type: 'longrope', short_factor: [1, 1.1, 1.2, 1.3], long_factor: [1, 2, 4, 8.5] };
/** Longrope of a model for 512 tokens that was trained with 64 first. */
const long = { max_position_embeddings: 512, original_max_position_embeddings: 64, rope_scaling: longrope };
const longNumbers = {
  type: 'longrope',
  theta: 1e4,
  dim: 8,
  shortFactor: longrope.short_factor,
  longFactor: longrope.long_factor,
  originalMaxPositionEmbeddings: 64,
  factor: 8,
} as const;
const yarn4 = { factor: 4, original_max_position_embeddings: 64 };

describe('angle tables follow the formulas', () => {
  const cases: [name: string, config: Record<string, unknown>, headDim: number, numbers: RopeNumbers][] = [
    ['no scaling', { rope_theta: 1e6 }, 128, { type: 'default', theta: 1e6, dim: 128 }],
    ['theta is 10000 when the config has none', {}, 32, { type: 'default', theta: 1e4, dim: 32 }],
    [
      'part of a head',
      { rope_theta: 1e4, partial_rotary_factor: 0.25 },
      64,
      { type: 'default', theta: 1e4, dim: 16 },
    ],
    [
      'linear',
      { rope_theta: 1e4, rope_scaling: { type: 'linear', factor: 3 } },
      40,
      { type: 'linear', theta: 1e4, dim: 40, factor: 3 },
    ],
    [
      'dynamic NTK',
      {
        rope_theta: 1e4,
        max_position_embeddings: 512,
        rope_scaling: { rope_type: 'dynamic', factor: 2 },
      },
      64,
      { type: 'dynamic', theta: 1e4, dim: 64, factor: 2, maxPositionEmbeddings: 512 },
    ],
    [
      'Llama 3',
      { rope_theta: 5e5, rope_scaling: llama3 },
      128,
      {
        type: 'llama3',
        theta: 5e5,
        dim: 128,
        factor: 8,
        lowFreqFactor: 1,
        highFreqFactor: 4,
        originalMaxPositionEmbeddings: 8192,
      },
    ],
    [
      'YaRN of DeepSeek-R1-0528-Qwen3-8B, whose attn_factor takes back what YaRN multiplies with',
      { rope_theta: 1e6, rope_scaling: { ...yarn4, rope_type: 'yarn', attn_factor: 0.8782488562869419 } },
      128,
      {
        type: 'yarn',
        theta: 1e6,
        dim: 128,
        factor: 4,
        originalMaxPositionEmbeddings: 64,
        attentionFactor: 1,
      },
    ],
    [
      'both sections that mean the same',
      {
        rope_theta: 1e4,
        rope_scaling: { type: 'linear', factor: 3 },
        rope_parameters: { rope_type: 'linear', factor: 3, rope_theta: 1e4 },
      },
      40,
      { type: 'linear', theta: 1e4, dim: 40, factor: 3 },
    ],
    [
      'rope_theta inside rope_parameters wins',
      { rope_theta: 1e4, rope_parameters: { rope_type: 'default', rope_theta: 1e6 } },
      32,
      { type: 'default', theta: 1e6, dim: 32 },
    ],
    [
      'YaRN of the golden fixture',
      golden,
      golden.head_dim,
      { type: 'yarn', theta: 1e6, dim: 32, factor: 4, originalMaxPositionEmbeddings: 64 },
    ],
    [
      'YaRN of DeepSeek, with two mscales',
      {
        rope_theta: 10000,
        rope_scaling: {
          type: 'yarn',
          factor: 40,
          original_max_position_embeddings: 4096,
          beta_fast: 32,
          beta_slow: 1,
          mscale: 1,
          mscale_all_dim: 0.8,
        },
      },
      64,
      {
        type: 'yarn',
        theta: 1e4,
        dim: 64,
        factor: 40,
        originalMaxPositionEmbeddings: 4096,
        mscale: 1,
        mscaleAllDim: 0.8,
      },
    ],
    [
      'YaRN with every option, in rope_parameters',
      {
        rope_parameters: {
          rope_type: 'yarn',
          rope_theta: 150000,
          partial_rotary_factor: 0.5,
          factor: 32,
          original_max_position_embeddings: 4096,
          beta_fast: 24,
          beta_slow: 2,
          attention_factor: 1.25,
          truncate: false,
        },
      },
      128,
      {
        type: 'yarn',
        theta: 150000,
        dim: 64,
        factor: 32,
        originalMaxPositionEmbeddings: 4096,
        betaFast: 24,
        betaSlow: 2,
        attentionFactor: 1.25,
        truncate: false,
      },
    ],
    [
      'YaRN whose factor is the ratio of the two context lengths',
      {
        max_position_embeddings: 512,
        rope_scaling: { rope_type: 'yarn', original_max_position_embeddings: 64, factor: null },
      },
      32,
      { type: 'yarn', theta: 1e4, dim: 32, factor: 8, originalMaxPositionEmbeddings: 64 },
    ],
    [
      'YaRN without an original length takes the whole context for it',
      { max_position_embeddings: 512, rope_scaling: { rope_type: 'yarn', factor: 2 } },
      32,
      { type: 'yarn', theta: 1e4, dim: 32, factor: 2, originalMaxPositionEmbeddings: 512 },
    ],
    ['longrope', long, 8, longNumbers],
    [
      'longrope of the older name, in a part of each head',
      { ...long, partial_rotary_factor: 0.5, rope_scaling: { ...longrope, type: 'su' } },
      16,
      longNumbers,
    ],
    [
      'longrope in rope_parameters, where the original length stands too, and the ratio of both wins over a factor',
      {
        max_position_embeddings: 512,
        rope_parameters: { ...longrope, original_max_position_embeddings: 64, factor: 3, rope_theta: 1e4 },
      },
      8,
      longNumbers,
    ],
    [
      'longrope without an original length',
      { max_position_embeddings: 512, rope_scaling: { ...longrope, factor: 4 } },
      8,
      { ...longNumbers, originalMaxPositionEmbeddings: 512, factor: 4 },
    ],
    [
      'longrope with an attention factor of its own',
      { ...long, rope_scaling: { ...longrope, attention_factor: 1.25 } },
      8,
      { ...longNumbers, attentionFactor: 1.25 },
    ],
    [
      'factors, as a GGUF file lists them',
      { rope_theta: 5e5, rope_scaling: { rope_type: 'factors', factors: [1, 1, 2.5, 8] } },
      8,
      { type: 'factors', theta: 5e5, dim: 8, shortFactor: [1, 1, 2.5, 8] },
    ],
    [
      'longrope of the golden fixture',
      phi3,
      phi3.hidden_size / phi3.num_attention_heads,
      {
        type: 'longrope',
        theta: 1e4,
        dim: 24,
        shortFactor: phi3.rope_scaling.short_factor,
        longFactor: phi3.rope_scaling.long_factor,
        originalMaxPositionEmbeddings: 128,
        factor: 4,
      },
    ],
  ];
  test.each(cases)('%s', (_, config, headDim, numbers) => {
    const rope = readRope(config, headDim, 'config.json');
    expect(rope.dim).toBe(numbers.dim);
    for (const begin of [0, 1, 511, 131_071, Math.floor(Math.random() * 1e5)]) {
      for (const rows of [1, 7]) {
        const length = begin + rows;
        expectAngles(ropeAngles(rope, begin, rows, length), numbers, begin, length);
      }
    }
  });

  test('numbers worked out from the published formulas', () => {
    const rope = readRope(golden, 32, 'config.json');
    const half = 16;
    const angles = ropeAngles(rope, 1, 1, 1);
    const scale = 1.138629436111989;
    const frequencies = [1, 3.16272378e-1, 8.89139705e-2, 1.87473552e-2, 7.90569415e-3];
    frequencies.forEach((f, i) => {
      expect(angles[i]).toBeCloseTo(scale * Math.cos(f), 6);
      expect(angles[half + i]).toBeCloseTo(scale * Math.sin(f), 6);
    });
  });
});

test('dynamic NTK looks at the whole context, and goes back to the plain angles when it is short again', () => {
  const rope = readRope(
    { max_position_embeddings: 100, rope_scaling: { type: 'dynamic', factor: 4 } },
    16,
    'config.json',
  );
  const plain = ropeAngles(rope, 50, 2, 100);
  const long = ropeAngles(rope, 50, 2, 250);
  expect(long).not.toEqual(plain);
  expectAngles(
    long,
    { type: 'dynamic', theta: 1e4, dim: 16, factor: 4, maxPositionEmbeddings: 100 },
    50,
    250,
  );
  expect(ropeAngles(rope, 50, 2, 52)).toEqual(plain);
});

test('longrope turns every position of a long sequence by the long factors, and says from which length on', () => {
  const rope = readRope(long, 8, 'config.json');
  expect(anglesChangeBeyond(rope)).toBe(64);
  expect(anglesChangeBeyond(readRope({}, 8, 'config.json'))).toBe(Number.POSITIVE_INFINITY);
  const short = ropeAngles(rope, 3, 2, 64);
  expectAngles(short, longNumbers, 3, 64);
  expectAngles(ropeAngles(rope, 3, 2, 65), longNumbers, 3, 65);
  expect(ropeAngles(rope, 3, 2, 65)).not.toEqual(short);
  expect(ropeAngles(rope, 3, 2, 9)).toEqual(short);
});

test('DeepSeek finds the mscale for its softmax scale', () => {
  const rope = readRope({ rope_scaling: { type: 'yarn', ...yarn4, mscale_all_dim: 1, mscale: 1 } }, 16, 'c');
  expect(rope).toMatchObject({ type: 'yarn', mscaleAllDim: 1, attentionFactor: 1 });
});

describe('a config that is not understood is refused by name', () => {
  const refused: [config: Record<string, unknown>, headDim: number, names: RegExp][] = [
    [
      { ...long, rope_scaling: { ...longrope, short_factor: [1] } },
      8,
      /short_factor is \[1\], wanted 4 numbers above 0/,
    ],
    [{ ...long, rope_scaling: { ...longrope, long_factor: [1, 1, 0, 1] } }, 8, /long_factor is \[1,1,0,1\]/],
    [{ ...long, rope_scaling: { ...longrope, long_factor: undefined } }, 8, /long_factor is undefined/],
    [{ rope_scaling: longrope }, 8, /max_position_embeddings is undefined/],
    [{ max_position_embeddings: 64, rope_scaling: longrope }, 8, /factor is undefined/],
    [{ ...long, original_max_position_embeddings: '64' }, 8, /original_max_position_embeddings is "64"/],
    [{ ...long, rope_scaling: { ...longrope, short_mscale: 1.2 } }, 8, /short_mscale is 1.2/],
    [{ rope_scaling: { rope_type: 'factors' } }, 8, /factors is undefined/],
    [
      { rope_scaling: { rope_type: 'factors', factors: Array(4000).fill('x') } },
      8,
      /factors is \[.{190,200}, wanted/,
    ],
    [{ rope_scaling: { ...llama3, low_freq_factor: undefined } }, 64, /low_freq_factor is undefined/],
    [{ rope_scaling: { ...llama3, high_freq_factor: 1 } }, 64, /high_freq_factor is 1, wanted more than/],
    [
      { rope_scaling: { ...llama3, original_max_position_embeddings: undefined } },
      64,
      /original_max_position_embeddings is undefined/,
    ],
    [{ rope_scaling: { ...llama3, beta_fast: 32 } }, 64, /beta_fast is 32/],
    [{ rope_scaling: { type: 'mrope', mrope_section: [16, 24, 24] } }, 64, /"mrope"/],
    [{ rope_scaling: { type: 'mrope', rope_type: 'default', mrope_section: [1] } }, 64, /"default".*"mrope"/],
    [{ rope_scaling: { rope_type: 'default', mrope_section: [16] } }, 64, /mrope_section is \[16\]/],
    [{ rope_parameters: { full_attention: { rope_type: 'default' } } }, 64, /full_attention/],
    [{ rope_scaling: { type: 'dynamic', alpha: 1000, factor: 1 } }, 64, /alpha is 1000/],
    [{ rope_scaling: { type: 'linear' } }, 64, /factor is undefined/],
    [{ rope_scaling: { type: 'linear', factor: '4' } }, 64, /factor is "4"/],
    [{ rope_scaling: { type: 'linear', factor: 0.5 } }, 64, /factor is 0.5/],
    [{ rope_scaling: { type: 'dynamic', factor: 2 } }, 64, /max_position_embeddings is undefined/],
    [{ rope_scaling: { type: 'yarn', ...yarn4, truncate: 'no' } }, 64, /truncate is "no"/],
    [{ rope_scaling: { type: 'yarn', ...yarn4, finetuned: true } }, 64, /finetuned is true/],
    [{ rope_scaling: { type: 'toString' } }, 64, /"toString"/],
    [{ rope_scaling: 'yarn' }, 64, /rope_scaling is "yarn"/],
    [
      { rope_scaling: { type: 'linear', factor: 2 }, rope_parameters: { rope_theta: 1e4 } },
      64,
      /different angles/,
    ],
    [
      { rope_theta: 1e6, rope_scaling: { type: 'default', rope_theta: 1e4 } },
      64,
      /rope_theta 1000000, and .* 10000/,
    ],
    [{ rope_theta: 0 }, 64, /rope_theta is 0/],
    [{ rope_theta: Number.NaN }, 64, /rope_theta/],
    [{ partial_rotary_factor: 0.3 }, 64, /19 of 64/],
    [{ partial_rotary_factor: 2 }, 64, /128 of 64/],
  ];
  test.each(refused)('%j', (config, headDim, names) => {
    const read = () => readRope(config, headDim, 'config.json');
    expect(read).toThrow(UnsupportedConfigError);
    expect(read).toThrow(names);
  });
});
