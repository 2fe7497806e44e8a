/**
 * Every golden fixture (numbers from independent implementations), in f32 and in half precision, in every feature tier of
 * the adapter, with and without fusion, and with a KV cache in int8. One line per fixture is printed: errors of hidden states and logits, greedy tokens
 * that agree.
 */
import { afterAll, describe, expect, inject, it } from 'vitest';
import { InvalidInputError } from '../../src/errors.ts';
import { openDevice } from '../../src/gpu/device.ts';
import type { Inspected } from '../../src/runtime/generate/inspect.ts';
import { openModel, type StartedModel, startModel } from '../../src/runtime/load/load.ts';
import type { LoadOptions } from '../../src/runtime/types.ts';
import type { Source } from '../../src/sources/source.ts';
import { fixtureFolders } from '../fixture-folders.ts';
import {
  type Difference,
  difference,
  type GoldenTensor,
  NO_DIFFERENCE,
  pickRows,
  readGolden,
  worst,
} from './golden.ts';
import { GREEDY } from './greedy.ts';
import { withLongContext } from './long-context.ts';

/** What the fixtures' makers ask of f32 arithmetic. */
const F32_BOUNDS = { logits: { maxAbs: 5e-4, relativeRms: 2e-5 }, hidden: 3e-4, embed: 0 };
/** Rounding of (q * scale + bias) where embeddings are quantised, and of a multiplier; widening 16 bits is exact. */
const ROUNDED_EMBED = 1e-6;
/** Max-abs and rms error of logits of transformers itself in float16, by fixture. */
const HALF_PRECISION: Record<string, { maxAbs: number; rms: number }> = {
  'deepseek-v3': { maxAbs: 0.049, rms: 0.0086 },
  'deepseek-v3-noqlora': { maxAbs: 0.023, rms: 0.0045 },
  qwen2: { maxAbs: 0.04, rms: 0.0072 },
  'qwen2-moe': { maxAbs: 0.42, rms: 0.018 },
  'qwen3-moe': { maxAbs: 0.51, rms: 0.025 },
  'qwen3-dense': { maxAbs: 0.074, rms: 0.012 },
  'qwen3-dense-untied-yarn': { maxAbs: 0.083, rms: 0.013 },
  smollm3: { maxAbs: 0.1, rms: 0.017 },
  'gguf-qwen3-q4km': { maxAbs: 0.035, rms: 0.0085 },
  'gguf-qwen2-q5km': { maxAbs: 0.036, rms: 0.0068 },
  'gguf-qwen3moe-q4km': { maxAbs: 0.035, rms: 0.0076 },
  'gguf-qwen3-q8': { maxAbs: 0.1, rms: 0.012 },
  'gguf-qwen3-q40': { maxAbs: 0.065, rms: 0.011 },
  'gguf-qwen3-q2q3': { maxAbs: 0.053, rms: 0.01 },
  'gguf-qwen3-iq4': { maxAbs: 0.041, rms: 0.0087 },
  'gguf-deepseek2-q4km': { maxAbs: 0.041, rms: 0.0079 },
  'gguf-llama-q4km': { maxAbs: 0.067, rms: 0.01 },
  'qwen3-embedding': { maxAbs: 0.052, rms: 0.0097 },
  'qwen3-reranker': { maxAbs: 0.087, rms: 0.012 },
};
/** For fixtures without a row of their own: the strictest of all rows. */
const STRICTEST_HALF = { maxAbs: 0.023, rms: 0.0045 };

/**
 * Relative rms error of logits with keys and values rounded to 1/127 of the largest of their head; a row for which a router chooses
 * another expert differs by more. What wrong keys or values make of logits is as large as they are.
 */
const INT8_KV_RELATIVE_RMS = { dense: 0.05, experts: 0.2 };
/** Heads, or latents, that are no multiple of 16 values. */
const NO_INT8_KV = [
  'deepseek-v3-fp8',
  'deepseek-v3-noqlora',
  'granite',
  'qwen2-moe',
  'qwen2-swa',
  'qwen3-ct-fp8',
  'qwen3-fp8',
  'smollm3',
];
/** Of fixtures that a plain run tries with int8 caches: with mixed keys and without. */
const PLAIN_INT8_KV = ['qwen2', 'qwen3-dense'];

const NUM_GREEDY = 24;
/** Several chunks for the longest prompt, and a last one that is not full. */
const PREFILL_ROWS = 64;

type Combination = { label: string; options: LoadOptions };

/**
 * Everything takes the better part of an hour on a software adapter in a browser, and many minutes in Node: that is `npm run
 * goldens`. A plain run fuses and uses all features of the adapter at once, f32 and half precision in turns from fixture to fixture. In a
 * browser it takes every fifth fixture, prompts of up to 64 tokens, and no rows one by one. A fixture whose kernels compile for
 * minutes has kernel tests of its own in every run.
 */
const everyCase = inject('everyCase');
const isInNode = import.meta.env.SSR;
const isWhole = isInNode || everyCase;
const SHORT = 64;

const probe = await openDevice();
const { subgroups, f16 } = probe.traits;
probe.dispose();
const tiers = [
  { subgroups: false, f16: false },
  { subgroups: true, f16: false },
  { subgroups: false, f16: true },
  { subgroups: true, f16: true },
]
  .filter((t) => (!t.subgroups || subgroups) && (!t.f16 || f16))
  .slice(everyCase ? 0 : -1);
const nameOf = (tier: (typeof tiers)[number]): string =>
  [tier.subgroups && 'subgroups', tier.f16 && 'f16'].filter(Boolean).join('+') || 'baseline';
const inTier = [
  ...[...new Set(tiers.map((t) => t.subgroups))].map((subgroups) => ({
    precision: 'f32' as const,
    tier: { subgroups, f16: false },
  })),
  ...tiers.map((tier) => ({ precision: undefined, tier })),
];
const combinations: Combination[] = inTier.flatMap(({ precision, tier }) =>
  (everyCase ? [true, false] : [true]).map((fuse) => ({
    label: `${precision ?? 'half'} ${nameOf(tier)}${fuse ? '' : ' without fusion'}`,
    options: { precision, debug: { ...tier, fuse } },
  })),
);

const int8Combinations: Combination[] = [true, false].map((fuse) => ({
  label: `f32 ${nameOf(inTier[0]!.tier)}${fuse ? '' : ' without fusion'}, KV int8`,
  options: {
    precision: 'f32',
    kvFormat: 'int8',
    debug: { ...inTier.find(({ precision }) => precision)!.tier, fuse },
  },
}));

const lines: string[] = [];
afterAll(() => {
  console.info(lines.join('\n'));
});

const fixtures = fixtureFolders('goldens')
  .filter(({ files }) => files.includes('golden.json'))
  .filter((_, i) => isWhole || i % 5 === 0)
  .filter(({ name }) => everyCase || !name.includes('desc-act'));
for (const [number, { name, source }] of fixtures.entries()) {
  describe(name, () => {
    const some = combinations.filter((_, i) => i % combinations.length === number % combinations.length);
    if (NO_INT8_KV.includes(name)) {
      it('an int8 KV cache is refused in words', async () => {
        const opening = start(source, 8, { kvFormat: 'int8' });
        await expect(opening).rejects.toThrow(InvalidInputError);
        await expect(opening).rejects.toThrow(/kvFormat is int8, .* found \d+.*kvFormat: 'f16'/);
      });
    }
    const int8 = NO_INT8_KV.includes(name)
      ? []
      : int8Combinations.slice(0, everyCase ? 2 : Number(PLAIN_INT8_KV.includes(name)));
    for (const { label, options } of [...(everyCase ? combinations : some), ...int8]) {
      it(`${label}: hidden states, logits and greedy tokens are those of the reference`, async () => {
        const golden = await readGolden(source);
        const lengths = [...golden.keys()]
          .flatMap((key) => key.match(/^p(\d+)\.input_ids$/)?.[1] ?? [])
          .filter((length) => isWhole || Number(length) <= SHORT);
        // With the module that drafts, where there is one: the greedy tokens then come through speculation.
        const hasDraft = [...golden.keys()].some((key) => key.endsWith('.mtp.rows'));
        const model = await start(source, Math.max(...lengths.map(Number)) + NUM_GREEDY, {
          ...options,
          speculate: hasDraft ? 'mtp' : undefined,
        });
        try {
          const seen: Seen = {
            embed: NO_DIFFERENCE,
            hidden: NO_DIFFERENCE,
            logits: NO_DIFFERENCE,
            logitsRms: 0,
            greedy: 0,
            wanted: 0,
            draft: NO_DIFFERENCE,
            routed: 0,
            rerouted: 0,
            isStrict: options.precision === 'f32' && options.kvFormat !== 'int8',
          };
          for (const length of lengths) await compare(model, golden, `p${length}`, seen);
          lines.push(
            `${name} (${label}): hidden ${seen.hidden.maxAbs.toExponential(1)}, logits ${seen.logits.maxAbs.toExponential(1)} ` +
              `(relative rms ${seen.logits.relativeRms.toExponential(1)}), greedy ${seen.greedy} of ${seen.wanted}` +
              (seen.routed > 0 ? `, routed alike ${seen.routed - seen.rerouted} of ${seen.routed}` : '') +
              (seen.draft === NO_DIFFERENCE
                ? ''
                : `, draft logits ${seen.draft.maxAbs.toExponential(1)} (relative rms ${seen.draft.relativeRms.toExponential(1)})`),
          );
          if (options.kvFormat === 'int8') {
            expect(seen.logits.relativeRms).toBeLessThanOrEqual(
              INT8_KV_RELATIVE_RMS[seen.routed > 0 ? 'experts' : 'dense'],
            );
            return;
          }
          expect(seen.greedy).toBe(seen.wanted);
          if (options.precision === 'f32') {
            // No stored decision is closer than 1e-4, which is beyond these bounds.
            expect(seen.rerouted).toBe(0);
            expect(seen.draft.maxAbs).toBeLessThanOrEqual(F32_BOUNDS.logits.maxAbs);
            expect(seen.draft.relativeRms).toBeLessThanOrEqual(F32_BOUNDS.logits.relativeRms);
            expect(seen.embed.maxAbs).toBeLessThanOrEqual(
              /-mlx-|^gguf-|^granite$/.test(name) ? ROUNDED_EMBED : F32_BOUNDS.embed,
            );
            expect(seen.hidden.maxAbs).toBeLessThanOrEqual(F32_BOUNDS.hidden);
            expect(seen.logits.maxAbs).toBeLessThanOrEqual(F32_BOUNDS.logits.maxAbs);
            expect(seen.logits.relativeRms).toBeLessThanOrEqual(F32_BOUNDS.logits.relativeRms);
          } else {
            const bound = HALF_PRECISION[name] ?? STRICTEST_HALF;
            expect(seen.logits.maxAbs).toBeLessThanOrEqual(bound.maxAbs);
            expect(seen.logitsRms).toBeLessThanOrEqual(bound.rms);
            expect(seen.draft.maxAbs).toBeLessThanOrEqual(bound.maxAbs);
          }
        } finally {
          model.dispose();
        }
      });
    }
  });
}

async function start(source: Source, contextLength: number, options: LoadOptions): Promise<StartedModel> {
  const load = { ...options, contextLength, prefillRows: PREFILL_ROWS };
  // Some prompts are longer than what their fixture's config allows.
  return startModel(await openModel(withLongContext(source, contextLength), load), load);
}

interface Seen {
  embed: Difference;
  hidden: Difference;
  logits: Difference;
  logitsRms: number;
  greedy: number;
  wanted: number;
  /** Logits of the module that drafts the token after next. */
  draft: Difference;
  /** Choices of experts that are compared, and those that differ. */
  routed: number;
  rerouted: number;
  isStrict: boolean;
}

async function compare(
  { session }: StartedModel,
  golden: Map<string, GoldenTensor>,
  prompt: string,
  seen: Seen,
): Promise<void> {
  const at = (name: string): GoldenTensor => golden.get(`${prompt}.${name}`)!;
  const ids = Array.from(at('input_ids').data);
  const rows = at('rows').data;
  const numLayers = [...golden.keys()].filter((k) => k.startsWith(`${prompt}.hidden.layer`)).length;
  const layers = Array.from({ length: numLayers }, (_, l) => `model.layers.${l}`);
  const routed = [...golden.keys()].flatMap(
    (key) => key.match(`^${prompt}\\.moe\\.layer(\\d+)\\.experts$`)?.[1] ?? [],
  );
  const names = [
    'model.embed_tokens',
    ...layers,
    'model.norm',
    'lm_head',
    ...routed.flatMap((l) => [`model.layers.${l}.mlp.experts`, `model.layers.${l}.mlp.scales`]),
  ];
  const greedy = golden.has(`${prompt}.greedy.tokens`) ? Array.from(at('greedy.tokens').data) : [];
  // The prompt and its greedy continuation at once, from nothing; short prompts also row by row, through the kernels of decoding.
  const whole = [...ids, ...greedy.slice(0, -1)];
  const last = greedy.map((_, i) => ids.length - 1 + i);
  for (const rowsAtOnce of isWhole && ids.length <= 7 ? [1, PREFILL_ROWS] : [PREFILL_ROWS]) {
    const found = await session.inspect(whole, names, rowsAtOnce);
    const differ = (name: string, positions: ArrayLike<number>, goldenName: string): Difference => {
      const { shape, data } = found.get(name)!;
      return difference(pickRows(data, shape[1], positions), at(goldenName).data);
    };
    seen.embed = worst(seen.embed, differ('model.embed_tokens', rows, 'hidden.embed'));
    layers.forEach((layer, l) => {
      seen.hidden = worst(seen.hidden, differ(layer, rows, `hidden.layer${l}`));
    });
    seen.hidden = worst(seen.hidden, differ('model.norm', rows, 'hidden.norm'));
    countLogits(differ('lm_head', rows, 'logits'), at('logits').data);
    if (greedy.length > 0) countLogits(differ('lm_head', last, 'greedy.logits'), at('greedy.logits').data);
    for (const layer of routed) compareRouting(layer, found);
  }
  if (golden.has(`${prompt}.mtp.rows`)) await compareDraft();
  if (greedy.length === 0) return;
  // The same tokens one after another, with the cache and the sampler.
  const generated: number[] = [];
  const generation = session.generate(ids, { sampling: GREEDY, maxTokens: NUM_GREEDY, accept: () => true });
  for await (const id of generation) generated.push(id);
  seen.wanted += greedy.length;
  seen.greedy += greedy.filter((id, i) => generated[i] === id).length;

  /** Rows of what a layer's router chose, experts ascending, and with which weights. */
  function compareRouting(layer: string, found: Map<string, Inspected>): void {
    const path = `model.layers.${layer}.mlp`;
    const { shape, data } = found.get(`${path}.experts`)!;
    const k = shape[1];
    // Words come back as the floats with their bits.
    const experts = new Uint32Array(data.buffer);
    const scales = found.get(`${path}.scales`)!.data;
    const wanted = at(`moe.layer${layer}.experts`).data;
    const wantedScales = at(`moe.layer${layer}.weights`).data;
    Array.from(rows).forEach((position, r) => {
      const slots = Array.from({ length: k }, (_, s) => position * k + s).sort(
        (a, b) => experts[a]! - experts[b]!,
      );
      seen.routed++;
      const isSame = slots.every((at, s) => experts[at] === wanted[r * k + s]);
      if (!isSame) seen.rerouted++;
      else if (seen.isStrict)
        slots.forEach((at, s) => {
          expect(Math.abs(scales[at]! - wantedScales[r * k + s]!)).toBeLessThanOrEqual(F32_BOUNDS.hidden);
        });
    });
  }

  async function compareDraft(): Promise<void> {
    const module = `model.layers.${numLayers}`;
    const head = `${module}.shared_head.head`;
    const positions = at('mtp.rows').data;
    for (const rowsAtOnce of isWhole && ids.length <= 7 ? [2, PREFILL_ROWS] : [PREFILL_ROWS]) {
      const found = await session.inspect(ids, [module, head], rowsAtOnce);
      const of = (name: string, goldenName: string): Difference => {
        const { shape, data } = found.get(name)!;
        return difference(pickRows(data, shape[1], positions), at(goldenName).data);
      };
      seen.hidden = worst(seen.hidden, of(module, 'mtp.hidden'));
      seen.draft = worst(seen.draft, of(head, 'mtp.logits'));
    }
  }

  function countLogits(d: Difference, reference: ArrayLike<number>): void {
    const rms = Math.sqrt(Array.from(reference).reduce((sum, v) => sum + v * v, 0) / reference.length);
    seen.logits = worst(seen.logits, d);
    seen.logitsRms = Math.max(seen.logitsRms, d.relativeRms * rms);
  }
}
