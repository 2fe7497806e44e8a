/**
 * @file Rotary position embeddings: reads a config's scaling, and makes the tables of cosines and sines that kernels read.
 * Computed on the CPU in f64, because WGSL's sin and cos may be off by 2^-11. Knows no model, kernel or device.
 * Formulas: Hugging Face transformers, modeling_rope_utils.py; YaRN: arXiv 2309.00071.
 */
import { UnsupportedConfigError } from '../errors.ts';

interface RopeBase {
  readonly theta: number;
  /** Values of each head that are rotated, from its start: two for every frequency. */
  readonly dim: number;
}

/** How angles follow from positions. */
export type RopeScaling = RopeBase &
  (
    | { readonly type: 'default' }
    | { readonly type: 'linear'; readonly factor: number }
    | { readonly type: 'dynamic'; readonly factor: number; readonly maxPositionEmbeddings: number }
    | {
        readonly type: 'llama3';
        readonly factor: number;
        readonly lowFreqFactor: number;
        readonly highFreqFactor: number;
        readonly originalMaxPositionEmbeddings: number;
      }
    | {
        readonly type: 'yarn';
        readonly factor: number;
        readonly originalMaxPositionEmbeddings: number;
        /** Multiplies cosines and sines. */
        readonly attentionFactor: number;
        readonly betaFast: number;
        readonly betaSlow: number;
        readonly truncate: boolean;
        /** 0 when the config has none. DeepSeek multiplies the softmax scale by `yarnMscale(factor, mscaleAllDim)` squared. */
        readonly mscaleAllDim: number;
      }
    | {
        /** Every frequency is divided by a factor of its own. */
        readonly type: 'factors';
        /** [dim / 2]. */
        readonly factors: readonly number[];
        /** Those of sequences of more tokens than `beyond`, at each of their positions (longrope). */
        readonly long: { readonly beyond: number; readonly factors: readonly number[] } | undefined;
        /** Multiplies cosines and sines. */
        readonly attentionFactor: number;
      }
  );

/** The types of config.json; `su` is the older name of `longrope`. */
type ConfigType = RopeScaling['type'] | 'longrope' | 'su';

type Keys = Readonly<Record<string, unknown>>;

const SHARED_KEYS = ['type', 'rope_type', 'rope_theta', 'partial_rotary_factor'];
const LONGROPE_KEYS = [
  'short_factor',
  'long_factor',
  'factor',
  'original_max_position_embeddings',
  'attention_factor',
];
/**
 * What each type reads; `dynamic` may carry an original length, which the reference ignores too. `factors` is no published type: it says
 * what the list in a GGUF file means.
 */
const KEYS_OF_TYPE: Readonly<Record<ConfigType, readonly string[]>> = {
  default: [],
  linear: ['factor'],
  dynamic: ['factor', 'original_max_position_embeddings'],
  llama3: ['factor', 'low_freq_factor', 'high_freq_factor', 'original_max_position_embeddings'],
  yarn: [
    'factor',
    'original_max_position_embeddings',
    'attention_factor',
    'attn_factor',
    'beta_fast',
    'beta_slow',
    'mscale',
    'mscale_all_dim',
    'truncate',
  ],
  longrope: LONGROPE_KEYS,
  su: LONGROPE_KEYS,
  factors: ['factors'],
};

const DEFAULT_THETA = 10_000;

/**
 * Reads the rotary keys of a config.json: `rope_theta`, `partial_rotary_factor`, `max_position_embeddings`,
 * `original_max_position_embeddings` (longrope), and `rope_scaling` or (newer configs) `rope_parameters`. Absent and null mean the same.
 * @param headDim values per head, of which `partial_rotary_factor` rotates a part (DeepSeek: qk_rope_head_dim)
 * @param where the file, as messages should name it
 * @throws UnsupportedConfigError naming the key, for a type or a key that is not understood
 */
export function readRope(config: Keys, headDim: number, where: string): RopeScaling {
  const [section = 'rope_scaling', other] = ['rope_parameters', 'rope_scaling'].filter(
    (name) => (config[name] ?? undefined) !== undefined,
  );
  const rope = readSection(config, section, headDim, where);
  if (other && JSON.stringify(readSection(config, other, headDim, where)) !== JSON.stringify(rope)) {
    throw new UnsupportedConfigError(
      `${where} has rope_parameters ${shown(config.rope_parameters)} and rope_scaling ${shown(config.rope_scaling)}, which mean different angles; remove the one that does not apply`,
    );
  }
  return rope;
}

const shown = (value: unknown): string => JSON.stringify(value)?.slice(0, 200) ?? 'nothing';

function readSection(config: Keys, section: string, headDim: number, where: string): RopeScaling {
  const keys = scalingKeys(config, section, where);
  const type = scalingType(keys, `${where}: ${section}`);
  const read = sectionReader(config, keys, section, where);
  for (const [key, found] of Object.entries(keys)) {
    if (found === null || SHARED_KEYS.includes(key) || KEYS_OF_TYPE[type].includes(key)) continue;
    throw new UnsupportedConfigError(
      `${read.at(key)} is ${JSON.stringify(found)?.slice(0, 80)}, which rotary embeddings of type "${type}" do not have here. ` +
        'If it changes the angles, src/graph/rope.ts must implement it.',
    );
  }
  const theta = read.optional('rope_theta', DEFAULT_THETA);
  if (theta <= 1) read.fail('rope_theta', theta, 'a number above 1');
  const dim = Math.trunc(headDim * read.optional('partial_rotary_factor', 1));
  if (dim < 4 || dim > headDim || dim % 4 !== 0) {
    throw new UnsupportedConfigError(
      `${where}: ${dim} of ${headDim} values per head are rotated, wanted a multiple of 4 from 4 to ${headDim}; check head_dim and partial_rotary_factor`,
    );
  }
  return scalingOf(type, { theta, dim }, read);
}

/** Reads keys of a section, and those beside it that it shares. */
function sectionReader(config: Keys, keys: Keys, section: string, where: string) {
  const at = (key: string): string => `${where}: ${Object.hasOwn(keys, key) ? `${section}.` : ''}${key}`;
  const fail = (key: string, found: unknown, wanted: string): never => {
    throw new UnsupportedConfigError(
      `${at(key)} is ${JSON.stringify(found)?.slice(0, 200)}, wanted ${wanted}`,
    );
  };
  const value = (key: string): unknown =>
    keys[key] ?? (SHARED_KEYS.includes(key) ? config[key] : undefined) ?? undefined;
  /** A number from `min` up. */
  const number = (key: string, found: unknown, min: number, wanted: string): number =>
    typeof found === 'number' && Number.isFinite(found) && found >= min ? found : fail(key, found, wanted);
  return {
    at,
    fail,
    value,
    number,
    optional: (key: string, fallback: number, min = 0): number =>
      number(key, value(key) ?? fallback, min, `a number of at least ${min}`),
    /** What stands beside the section. */
    beside: (key: string): unknown => config[key] ?? undefined,
    maxPositions: (): number =>
      number('max_position_embeddings', config.max_position_embeddings, 1, 'the longest context in tokens'),
    factor: (): number => number('factor', value('factor'), 1, 'a number of at least 1'),
    /** A number above 0 for each of `count` frequencies. */
    factors(key: string, count: number): readonly number[] {
      const found = value(key);
      const isList = Array.isArray(found) && found.length === count;
      if (isList && found.every((n) => typeof n === 'number' && Number.isFinite(n) && n > 0)) return found;
      return fail(
        key,
        found,
        `${count} numbers above 0, one for every two of the ${2 * count} values that are rotated`,
      );
    },
  };
}

function scalingOf(type: ConfigType, base: RopeBase, read: ReturnType<typeof sectionReader>): RopeScaling {
  switch (type) {
    case 'default':
      return { type, ...base };
    case 'linear':
      return { type, ...base, factor: read.factor() };
    case 'dynamic':
      return { type, ...base, factor: read.factor(), maxPositionEmbeddings: read.maxPositions() };
    case 'llama3': {
      const required = (key: string): number =>
        read.number(key, read.value(key), 0, 'a number of at least 0');
      const [lowFreqFactor, highFreqFactor] = [required('low_freq_factor'), required('high_freq_factor')];
      if (lowFreqFactor >= highFreqFactor) {
        read.fail('high_freq_factor', highFreqFactor, `more than low_freq_factor, ${lowFreqFactor}`);
      }
      const key = 'original_max_position_embeddings';
      const originalMaxPositionEmbeddings = read.number(key, read.value(key), 1, 'a length in tokens');
      return {
        type,
        ...base,
        factor: read.factor(),
        lowFreqFactor,
        highFreqFactor,
        originalMaxPositionEmbeddings,
      };
    }
    case 'yarn': {
      const original = 'original_max_position_embeddings';
      const originalMaxPositionEmbeddings =
        read.value(original) === undefined ? read.maxPositions() : read.optional(original, 1, 1);
      const scale =
        read.value('factor') === undefined
          ? read.maxPositions() / originalMaxPositionEmbeddings
          : read.factor();
      const [mscale, mscaleAllDim] = [read.optional('mscale', 0), read.optional('mscale_all_dim', 0)];
      const ownFactor =
        mscale && mscaleAllDim
          ? yarnMscale(scale, mscale) / yarnMscale(scale, mscaleAllDim)
          : yarnMscale(scale, 1);
      const truncate = read.value('truncate') ?? true;
      return {
        type,
        ...base,
        factor: scale,
        originalMaxPositionEmbeddings,
        // llama.cpp's key, which some configs carry over, multiplies what is there.
        attentionFactor: read.optional('attention_factor', ownFactor) * read.optional('attn_factor', 1),
        // The reference takes 0 for absent.
        betaFast: read.optional('beta_fast', 0) || 32,
        betaSlow: read.optional('beta_slow', 0) || 1,
        truncate: typeof truncate === 'boolean' ? truncate : read.fail('truncate', truncate, 'true or false'),
        mscaleAllDim,
      };
    }
    case 'factors':
      return {
        type,
        ...base,
        factors: read.factors('factors', base.dim / 2),
        long: undefined,
        attentionFactor: 1,
      };
    case 'longrope':
    case 'su': {
      const [key, max] = ['original_max_position_embeddings', read.maxPositions()];
      const original = read.value(key) ?? read.beside(key);
      const beyond = read.number(key, original ?? max, 2, 'a length in tokens');
      // Where the original length is told, the reference does not look at `factor`.
      const scale = original === undefined ? read.factor() : max / beyond;
      const ownFactor = scale <= 1 ? 1 : Math.sqrt(1 + Math.log(scale) / Math.log(beyond));
      return {
        type: 'factors',
        ...base,
        factors: read.factors('short_factor', base.dim / 2),
        long: { beyond, factors: read.factors('long_factor', base.dim / 2) },
        attentionFactor: read.optional('attention_factor', ownFactor),
      };
    }
    default:
      return type satisfies never;
  }
}

/** A sequence of more tokens than this has other angles at all its positions than while it was shorter. */
export const anglesChangeBeyond = (rope: RopeScaling): number =>
  (rope.type === 'factors' ? rope.long?.beyond : undefined) ?? Number.POSITIVE_INFINITY;

function scalingKeys(config: Keys, section: string, where: string): Keys {
  const keys = (config[section] ?? {}) as Keys;
  if (typeof keys !== 'object' || Array.isArray(keys)) {
    throw new UnsupportedConfigError(
      `${where}: ${section} is ${JSON.stringify(keys)}, wanted an object or null`,
    );
  }
  const { rope_theta: inside } = keys;
  const { rope_theta: beside } = config;
  // Readers of rope_parameters take what is inside; of the older section it is not certain.
  if (section === 'rope_scaling' && inside != null && beside != null && inside !== beside) {
    throw new UnsupportedConfigError(
      `${where} has rope_theta ${shown(beside)}, and in rope_scaling ${shown(inside)}; remove the one that does not apply`,
    );
  }
  return keys;
}

function scalingType(keys: Keys, where: string): ConfigType {
  const { rope_type: newer, type: older } = keys;
  if (newer && older && newer !== older) {
    throw new UnsupportedConfigError(
      `${where} has rope_type ${JSON.stringify(newer)} and type ${JSON.stringify(older)}, wanted one of them, or both the same`,
    );
  }
  const type = newer ?? older ?? 'default';
  if (typeof type !== 'string' || !Object.hasOwn(KEYS_OF_TYPE, type)) {
    throw new UnsupportedConfigError(
      `${where} has the type ${JSON.stringify(type)}; implemented are ${Object.keys(KEYS_OF_TYPE).join(', ')}`,
    );
  }
  return type as ConfigType;
}

/** YaRN's correction of attention magnitudes: 0.1 * mscale * ln(factor) + 1. */
export function yarnMscale(factor: number, mscale: number): number {
  return factor <= 1 ? 1 : 0.1 * mscale * Math.log(factor) + 1;
}

interface Frequencies {
  /** The sequence length they hold for, as `lengthThatCounts` has it. */
  readonly length: number;
  /** Radians per position, [dim / 2]. */
  readonly perPosition: Float64Array;
}

/** The last frequencies of each scaling: a decode step asks for one row of the same ones again and again. */
const known = new WeakMap<RopeScaling, Frequencies>();

/**
 * Angle tables of `rows` positions from `begin`: f32 [rows, dim], each row cosines [dim / 2], then sines [dim / 2], with
 * the attention factor multiplied in.
 * @param sequenceLength tokens in the whole context, cached and new; matters for dynamic scaling and longrope only
 */
export function ropeAngles(
  rope: RopeScaling,
  begin: number,
  rows: number,
  sequenceLength: number,
): Float32Array<ArrayBuffer> {
  const length = lengthThatCounts(rope, sequenceLength);
  let frequencies = known.get(rope);
  if (frequencies?.length !== length) {
    frequencies = { length, perPosition: inverseFrequencies(rope, length) };
    known.set(rope, frequencies);
  }
  const { perPosition } = frequencies;
  const half = perPosition.length;
  const scale = rope.type === 'yarn' || rope.type === 'factors' ? rope.attentionFactor : 1;
  const angles = new Float32Array(rows * 2 * half);
  for (let row = 0, at = 0; row < rows; row++, at += 2 * half) {
    for (let i = 0; i < half; i++) {
      const angle = (begin + row) * perPosition[i]!;
      angles[at + i] = scale * Math.cos(angle);
      angles[at + half + i] = scale * Math.sin(angle);
    }
  }
  return angles;
}

/** One number for all lengths with the same frequencies. */
function lengthThatCounts(rope: RopeScaling, length: number): number {
  if (rope.type === 'dynamic') return Math.max(length, rope.maxPositionEmbeddings);
  const border = anglesChangeBeyond(rope);
  return length > border ? border + 1 : 0;
}

function inverseFrequencies(rope: RopeScaling, length: number): Float64Array {
  const { dim } = rope;
  const powers = (theta: number): Float64Array =>
    Float64Array.from({ length: dim / 2 }, (_, i) => theta ** ((-2 * i) / dim));
  switch (rope.type) {
    case 'default':
      return powers(rope.theta);
    case 'linear':
      return powers(rope.theta).map((f) => f / rope.factor);
    case 'dynamic': {
      const stretch = (rope.factor * length) / rope.maxPositionEmbeddings - (rope.factor - 1);
      return powers(rope.theta * stretch ** (dim / (dim - 2)));
    }
    case 'llama3': {
      // Those that turn often within the original context are kept, those that turn less than once or so are slowed down.
      const { factor, lowFreqFactor: low, highFreqFactor: high } = rope;
      return powers(rope.theta).map((f) => {
        const turns = (rope.originalMaxPositionEmbeddings * f) / (2 * Math.PI);
        const kept = Math.min(1, Math.max(0, (turns - low) / (high - low)));
        return (f / factor) * (1 - kept) + f * kept;
      });
    }
    case 'yarn': {
      const [low, high] = yarnRange(rope);
      return powers(rope.theta).map((f, i) => {
        const slowed = Math.min(1, Math.max(0, (i - low) / (high - low)));
        return (f / rope.factor) * slowed + f * (1 - slowed);
      });
    }
    case 'factors': {
      const factors = length > anglesChangeBeyond(rope) ? rope.long!.factors : rope.factors;
      return powers(rope.theta).map((f, i) => f / factors[i]!);
    }
    default:
      return rope satisfies never;
  }
}

/** Frequencies before `low` turn more than betaFast times within the original context and are kept; those from `high` on are slowed down fully. */
function yarnRange(rope: RopeScaling & { type: 'yarn' }): [low: number, high: number] {
  const { dim, theta, originalMaxPositionEmbeddings: length, truncate } = rope;
  const indexOf = (turns: number): number =>
    (dim * Math.log(length / (turns * 2 * Math.PI))) / (2 * Math.log(theta));
  const [from, to] = [indexOf(rope.betaFast), indexOf(rope.betaSlow)];
  const low = Math.max(truncate ? Math.floor(from) : from, 0);
  const high = Math.min(truncate ? Math.ceil(to) : to, dim - 1);
  return [low, low === high ? high + 0.001 : high];
}
