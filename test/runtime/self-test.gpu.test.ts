/** What a user can rely on where a driver is broken: a kernel that computes nonsense is found and not used. */
import { afterAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { kernels } from '../../kernels/index.ts';
import { DeviceFaultError } from '../../src/errors.ts';
import type { KernelSource, KernelTable, KernelVariant } from '../../src/gpu/kernel.ts';
import { loadModel } from '../../src/index.ts';
import { hotCases } from '../../src/runtime/examine/lone-op.ts';
import { selfTest } from '../../src/runtime/examine/self-test.ts';
import { chooseVariant } from '../../src/runtime/program/program.ts';
import { fixtureFolders } from '../fixture-folders.ts';
import { type TinyModel, tinyModel } from './examined.ts';

const warnings = vi.spyOn(console, 'warn').mockImplementation(() => {});
beforeEach(() => {
  warnings.mockClear();
});
afterAll(() => {
  warnings.mockRestore();
});

/** Of `linear` those that a model uses unless told otherwise: the others would only take long to compile. */
const isUsual = ({ name }: KernelVariant): boolean => !/^matvec-(waves-staged|\dx|subgroups-)/.test(name);

/** The variants of a kind with their files changed, under names of their own, before all others. */
function withBroken(
  kind: keyof typeof kernels,
  break_: (text: string) => string,
  keepOthers = true,
): KernelTable {
  const variants = kernels[kind] as readonly KernelVariant[];
  const change = (source: KernelSource): KernelSource => ({
    ...source,
    body: { ...source.body, text: break_(source.body.text) },
    parts: source.parts?.map((part) => ({ ...part, text: break_(part.text) })),
  });
  const broken = variants.filter(isUsual).map(
    (variant): KernelVariant => ({
      ...variant,
      name: `broken-${variant.name}`,
      build: (op, context) => change(variant.build(op, context)),
    }),
  );
  return { ...kernels, [kind]: keepOthers ? [...broken, ...variants] : broken };
}

/** What is wrong with the kernels of a table on a model, and what is chosen for its ops of a kind. */
async function test({ gpu, weights, plans }: TinyModel, table: KernelTable, kind: keyof typeof kernels) {
  const wrong = new Set<string>();
  const cases = hotCases(Object.values(plans)).filter(({ ops }) => ops[0]!.kind === kind);
  expect(cases.length).toBeGreaterThan(0);
  await selfTest(gpu, weights, table, cases, wrong);
  const chosen = cases.map(({ ops }) => chooseVariant(table, ops[0]!, gpu.traits, {}, { wrong }).name);
  return { wrong: [...wrong], chosen };
}

/** Mistakes of the kind that drivers make: a lane's product lost, a sum not multiplied, a value of another row, no number. */
const FAULTS: readonly { model: string; kind: keyof typeof kernels; from: string | RegExp; to: string }[] = [
  { model: 'tiny-qwen3', kind: 'linear', from: 'dot(w2[j], value)', to: 'dot(w1[j], value)' },
  { model: 'tiny-qwen3', kind: 'linear', from: 'inverseSqrt(', to: '0.99 * inverseSqrt(' },
  { model: 'tiny-qwen3', kind: 'linear', from: 'fma(a.w, b.w, c)', to: 'fma(a.w, b.z, c)' },
  {
    model: 'tiny-qwen3',
    kind: 'linear',
    from: 'let column = matrix.column + n;',
    to: 'let column = n ^ 4u;',
  },
  { model: 'tiny-qwen3', kind: 'attend', from: 'sum *= shrink;', to: '' },
  { model: 'tiny-qwen3', kind: 'attendSplit', from: 'sum += floats[at]', to: 'sum += 1.01 * floats[at]' },
  { model: 'tiny-deepseek-v3', kind: 'expertLinear', from: 'slot * x_slot_stride', to: '0u' },
];

describe('a kernel that computes wrong values', () => {
  const models = new Map<string, Promise<TinyModel>>();
  const load = (name: string): Promise<TinyModel> => {
    const known = models.get(name) ?? tinyModel(name);
    models.set(name, known);
    return known;
  };
  afterAll(async () => {
    for (const model of models.values()) (await model).gpu.dispose();
  });

  it.for(FAULTS)('is found and not used: $kind with $to for $from', async ({ model, kind, from, to }) => {
    const table = withBroken(kind, (text) => text.replaceAll(from, to));
    const { wrong, chosen } = await test(await load(model), table, kind);
    expect(wrong.length).toBeGreaterThan(0);
    for (const label of wrong) expect(label).toMatch(`${kind}:broken-`);
    expect(warnings).toHaveBeenCalledTimes(wrong.length);
    expect(warnings.mock.calls[0]![0]).toMatch(/kernel \S+:broken-\S+ does not work on .* is not used/);
    for (const name of chosen) expect(wrong).not.toContain(`${kind}:${name}`);
  });

  it('is found when it gives no numbers or does not compile', async () => {
    for (const [from, to] of [
      [
        'write_outputs(matrix.row + row, column, y',
        'write_outputs(matrix.row + row, column, y / vec4(sums_of_nothing())',
      ],
      [
        'write_outputs(matrix.row + row, column, y',
        'write_outputs(matrix.row + row, column, y * bitcast<f32>(0x7fc00000u + step.position)',
      ],
    ] as const) {
      const table = withBroken('linear', (text) => text.replaceAll(from, to));
      const { wrong } = await test(await load('tiny-qwen3'), table, 'linear');
      expect(wrong.some((label) => label.startsWith('linear:broken-matvec'))).toBe(true);
    }
  });

  it('is an error that names the op and the device when there is no other', async () => {
    const table = withBroken('attend', (text) => text.replaceAll('sum *= shrink;', ''), false);
    const model = await load('tiny-qwen3');
    const failed = await test(model, table, 'attend').catch((error: unknown) => error);
    expect(failed).toBeInstanceOf(DeviceFaultError);
    expect((failed as Error).message).toContain(model.gpu.info.description);
    expect((failed as Error).message).toMatch(/No kernel computes attend .*attend:broken-tile/);
  });

  it('does not exist among those of this device', async () => {
    const { gpu, weights, plans } = await load('tiny-deepseek-v3');
    const wrong = new Set<string>();
    await selfTest(gpu, weights, kernels, hotCases(Object.values(plans)), wrong);
    expect([...wrong], warnings.mock.calls.join('\n')).toEqual([]);
  });
});

it('tells which kernels a model uses, unless nobody has looked', async () => {
  const { source } = fixtureFolders('tinyModels').find((f) => f.name === 'tiny-qwen3')!;
  const load = async (debug: { selfTest?: boolean }) => {
    const model = await loadModel(source, { contextLength: 128, debug });
    model.dispose();
    return model.info;
  };
  const { variants, wrongKernels } = await load({});
  expect(wrongKernels).toEqual([]);
  expect(Object.keys(variants).join()).toMatch(/linear \d+ x \d+ \w+, 1 row, norm/);
  expect(Object.values(variants).join()).toMatch(/matvec/);
  expect((await load({ selfTest: false })).variants).toEqual({});
});
