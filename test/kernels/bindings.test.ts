import { readFileSync } from 'node:fs';
/** @file What kernels bind, of every plan on every kind of device: no more buffers and no larger ones than any adapter takes. */
import { describe, expect, it } from 'vitest';
import { kernels } from '../../kernels/index.ts';
import { InvalidInputError } from '../../src/errors.ts';
import type { DeviceTraits, KernelSource, KernelVariant, WeightPart } from '../../src/gpu/kernel.ts';
import { baseOf, type Op, tensorBytes } from '../../src/graph/graph.ts';
import type { KvFormat } from '../../src/graph/ops/cache.ts';
import type { Plan } from '../../src/graph/plan.ts';
import type { WeightFormat, WeightResolver } from '../../src/graph/weight.ts';
import { familyOf } from '../../src/models/index.ts';
import {
  type ModelSpec,
  type PlanOptions,
  type ProgramName,
  recordPlan,
} from '../../src/runtime/program/plans.ts';
import { buildSources } from '../../src/runtime/program/program.ts';
import { formats } from '../../src/weights/formats.ts';
import { intFormat } from '../../src/weights/int-format.ts';
import { leastDevice, tiersOf } from './harness.ts';

/**
 * Storage buffers that every adapter binds to a stage. Some kernels bind as many with a format of two sections: what a format has
 * beyond two must share a buffer, at offsets.
 */
const MAX_BUFFERS = 8;

/** One of each family, with what changes its ops: biases, norms of heads, experts, a shared one, a compressed q. */
const FAMILIES = [
  'goldens/qwen2',
  'goldens/qwen3-dense',
  'goldens/qwen3-dense-untied-yarn',
  'goldens/qwen3-moe',
  'goldens/qwen2-moe',
  'goldens/deepseek-v3',
  'goldens/deepseek-v3-noqlora',
  'configs/qwen3-0.6b',
  'configs/qwen3-30b-a3b',
  'configs/deepseek-v3',
];

/** Plain ones, fp8 with a scale for each block, and integers as checkpoints have them. */
const FORMATS: readonly WeightFormat[] = [
  ...Object.values(formats),
  // GPTQ and AWQ, in groups and of whole rows; desc_act.
  intFormat({ bits: 4, groupSize: undefined, words: 'f16-zero' }),
  intFormat({ bits: 4, groupSize: 128, words: 'f16-zero', anyGroup: true }),
  intFormat({ bits: 8, groupSize: 128, words: 'bf16-zero', anyGroup: true }),
  // MLX, compressed-tensors.
  intFormat({ bits: 4, groupSize: 64, words: 'f16-bias' }),
  intFormat({ bits: 4, groupSize: 32, words: 'f32' }),
  intFormat({ bits: 8, groupSize: undefined, words: 'f32' }),
];

const KV_FORMATS: readonly KvFormat[] = ['f32', 'f16', 'int8'];

const tiers = tiersOf({ ...leastDevice, f16: true, subgroups: true });

/** A config with as many layers as show all kinds of them. */
function read(path: string): Record<string, unknown> {
  const json = JSON.parse(
    readFileSync(new URL(`../fixtures/${path}/config.json`, import.meta.url), 'utf8'),
  ) as { num_hidden_layers: number };
  return { ...json, num_hidden_layers: Math.min(json.num_hidden_layers, 4) };
}

/** Every matrix in the format, whatever it is for: more than a checkpoint may do. */
const inFormat =
  (format: WeightFormat): WeightResolver =>
  ({ isVector }) =>
    isVector ? formats.f32 : format;

/** Some models refuse caches in int8, and say so. */
function planOrRefusal(spec: ModelSpec, options: PlanOptions, name: ProgramName): Plan | undefined {
  try {
    return recordPlan(spec, options, name);
  } catch (error) {
    if (options.kvFormat !== 'int8' || !(error instanceof InvalidInputError)) throw error;
    expect(error.message).toContain('kvFormat');
    return undefined;
  }
}

function* plansOf(path: string, format: WeightFormat): Generator<[string, Plan]> {
  const json = read(path);
  const family = familyOf(json);
  const config = family.config(json);
  const hasDraft = family.draft !== undefined && !!config.numNextnPredictLayers;
  const spec = { family, config, resolve: inFormat(format) };
  const common = { capacity: 256, maxSequences: 16, prefillRows: 64 };
  for (const kvFormat of KV_FORMATS) {
    for (const fuse of [true, false]) {
      for (const speculate of [undefined, hasDraft ? 'mtp' : 'lookup'] as const) {
        const options: PlanOptions = { ...common, kvFormat, fuse, speculate };
        const drafts: ProgramName[] = speculate === 'mtp' ? ['draft1', 'draft16', 'draftPrefill'] : [];
        for (const name of ['rows1', 'rows16', 'prefill', ...drafts] as const) {
          const plan = planOrRefusal(spec, options, name);
          if (plan) yield [`${name} (${kvFormat} cache, fuse ${fuse})`, plan];
        }
      }
    }
  }
}

interface Built {
  variant: string;
  source: KernelSource;
  part: WeightPart;
}

/** What tells ops of one shape apart. */
const IDENTITIES = new Set(['graph', 'id', 'name', 'role', 'key', 'names', 'rowsOf', 'format']);

/** Layers and programs repeat: what is asked of ops of one shape is asked once. */
function shapeOf(op: Op): string {
  return JSON.stringify([op.kind, op.attrs, op.inputs, op.weights, op.outputs], (key, value) => {
    return IDENTITIES.has(key) ? undefined : value;
  });
}

function* built(ops: readonly Op[], device: DeviceTraits): Generator<Built> {
  for (const op of ops) {
    for (const variant of kernels[op.kind as keyof typeof kernels] as unknown as readonly KernelVariant[]) {
      if (!variant.when(op, device)) continue;
      for (const { source, part } of buildSources(variant, op, device)) {
        yield { variant: `${op.kind}:${variant.name}`, source, part };
      }
    }
  }
}

/** Bytes of each buffer, but of those whose size no plan tells: tensors of a session grow. */
function bytesOf({ source, part }: Built): [string, number][] {
  return Object.entries(source.bindings).flatMap(([name, binding]): [string, number][] => {
    if ('tensor' in binding) {
      const base = baseOf(binding.tensor);
      return base.lifetime === 'session' ? [] : [[name, tensorBytes(base)]];
    }
    const { weight, section } = binding;
    const { rowBytes } = weight.format.sections.find((s) => s.name === section)!;
    return [[name, rowBytes(weight.cols) * (weight.isVector ? 1 : part.rows)]];
  });
}

describe.each(FAMILIES)('%s', (path) => {
  it.each(FORMATS)('binds what every adapter takes, of weights in $name', (format) => {
    const seen = new Set<string>();
    const wrong: string[] = [];
    let most = 0;
    for (const [label, plan] of plansOf(path, format)) {
      const ops = plan.graph.ops.filter((op) => {
        const shape = shapeOf(op);
        return !seen.has(shape) && seen.add(shape);
      });
      for (const { name: tier, traits } of tiers) {
        for (const kernel of built(ops, traits)) {
          const names = Object.keys(kernel.source.bindings);
          most = Math.max(most, names.length);
          const where = `${kernel.variant} of ${label}, ${tier}`;
          if (names.length > MAX_BUFFERS) wrong.push(`${where}: binds ${names.join(', ')}`);
          for (const [name, bytes] of bytesOf(kernel)) {
            if (bytes > traits.maxBindingBytes) wrong.push(`${where}: binds ${bytes} bytes of ${name}`);
          }
        }
      }
    }
    expect(wrong).toEqual([]);
    // The sampler and prepareLatent have no room left.
    expect(most).toBe(MAX_BUFFERS);
  });
});
