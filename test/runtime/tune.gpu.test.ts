/** What a user can rely on where kernels are measured: right answers, a bounded time, and choices that stay. */
import { afterAll, beforeAll, expect, it, vi } from 'vitest';
import { kernels } from '../../kernels/index.ts';
import type { KernelTable, KernelVariant } from '../../src/gpu/kernel.ts';
import { type LoadProgress, loadModel } from '../../src/index.ts';
import { hotCases } from '../../src/runtime/examine/lone-op.ts';
import { tune } from '../../src/runtime/examine/tune.ts';
import { tuneWorkgroups } from '../../src/runtime/examine/tune-workgroups.ts';
import type { TuningStore } from '../../src/runtime/examine/tuning-store.ts';
import { fixtureFolders } from '../fixture-folders.ts';
import { type TinyModel, tinyModel } from './examined.ts';

let model: TinyModel;
beforeAll(async () => {
  model = await tinyModel('tiny-qwen3');
});
afterAll(() => model.gpu.dispose());

const storeIn = (kept: Map<string, string>): TuningStore => ({
  get: async (key) => kept.get(key),
  put: async (key, value) => void kept.set(key, value),
});

/** The table with only some of the variants of `linear`: software adapters take long to compile. */
const only = (...names: string[]): KernelTable => ({
  ...kernels,
  linear: kernels.linear.filter(({ name }) => names.includes(name) || name.startsWith('tile')),
});

const decoding = () => hotCases([model.plans.rows1]).filter(({ ops: [op] }) => op!.kind === 'linear');
const buffers = () => model.gpu.buffers.memory.buffers;

it('measures every product of a token, keeps what it found, and does not measure again', async () => {
  const { gpu, weights } = model;
  const table = only('matvec', 'matvec-4x32');
  const kept = new Map<string, string>();
  const some = decoding().slice(0, 3);
  const before = buffers();
  const fastest = await tune(gpu, weights, table, some, new Set(), {
    budget: 60_000,
    store: storeIn(kept),
  });
  const chosen = some.map(({ ops }) => fastest(ops[0]!));
  for (const name of chosen) expect(['matvec', 'matvec-4x32']).toContain(name);
  expect(kept.size).toBe(chosen.length);
  expect(buffers()).toBe(before);
  for (const name of ['matvec', 'matvec-4x32']) {
    const stored = new Map([...kept.keys()].map((key) => [key, name]));
    const again = await tune(gpu, weights, table, some, new Set(), { budget: 0, store: storeIn(stored) });
    expect(some.map(({ ops }) => again(ops[0]!))).toEqual(some.map(() => name));
  }
});

it('never takes a kernel that computes wrong values, however fast it is or whoever has stored it', async () => {
  const { gpu, weights } = model;
  const matvec = kernels.linear.find(({ name }) => name === 'matvec')!;
  const idle: KernelVariant<'linear'> = {
    ...matvec,
    name: 'idle',
    build: (op, context) => ({
      ...matvec.build(op, context),
      consts: { ...matvec.build(op, context).consts, idle: true },
      grid: () => [1, 1, 1],
    }),
  };
  const table: KernelTable = { ...kernels, linear: [matvec, idle] };
  const warn = vi.spyOn(console, 'warn').mockImplementation(() => {});
  try {
    const kept = new Map<string, string>();
    const [first] = decoding();
    const wrong = new Set<string>();
    const fastest = await tune(gpu, weights, table, [first!], wrong, {
      budget: 60_000,
      store: storeIn(kept),
    });
    expect(fastest(first!.ops[0]!)).toBe('matvec');
    expect([...wrong]).toEqual(['linear:idle']);
    const stored = new Map([...kept].map(([key]) => [key, 'idle']));
    const again = await tune(gpu, weights, table, [first!], new Set(), { store: storeIn(stored) });
    expect(again(first!.ops[0]!)).toBeUndefined();
  } finally {
    warn.mockRestore();
  }
});

it('ends in time, with what it had no time for left as it was', async () => {
  const { gpu, weights } = model;
  const kept = new Map<string, string>();
  const fastest = await tune(gpu, weights, kernels, decoding(), new Set(), {
    budget: 0,
    store: storeIn(kept),
  });
  expect(decoding().map(({ ops }) => fastest(ops[0]!))).toEqual(decoding().map(() => undefined));
  expect(kept.size).toBe(0);
});

it('finds how many workgroups of attention fill the device, and does not measure again', async () => {
  const { gpu, weights, plans } = await tinyModel('tiny-qwen3', 4096);
  try {
    const cases = hotCases([plans.rows1]);
    const findings = { wrong: new Set<string>() };
    const kept = new Map<string, string>();
    const find = (budget: number) =>
      tuneWorkgroups(gpu, weights, kernels, cases, findings, { budget, store: storeIn(kept) });
    const before = gpu.buffers.memory.buffers;
    expect(await find(0)).toBeUndefined();
    expect(kept.size).toBe(0);
    const found = await find(60_000);
    expect([64, 128]).toContain(found);
    expect(await find(0)).toBe(found);
    expect(gpu.buffers.memory.buffers).toBe(before);
    // A context of one split is the same for all.
    expect(
      await tuneWorkgroups(gpu, weights, kernels, hotCases([model.plans.rows1]), findings),
    ).toBeUndefined();
  } finally {
    gpu.dispose();
  }
});

it('ends when it is aborted', async () => {
  const { gpu, weights } = model;
  const before = buffers();
  const tuning = tune(gpu, weights, only('matvec', 'matvec-4x32'), decoding(), new Set(), {
    budget: 60_000,
    store: storeIn(new Map()),
    signal: AbortSignal.timeout(50),
  });
  await expect(tuning).rejects.toThrow(/abort|timed? ?out/i);
  expect(buffers()).toBe(before);
});

it('is a phase of loading where it is asked for, and changes no answer', async () => {
  const { source } = fixtureFolders('tinyModels').find((f) => f.name === 'tiny-qwen3')!;
  const answer = async (tune: boolean) => {
    const phases = new Set<LoadProgress['phase']>();
    const loaded = await loadModel(source, {
      contextLength: 64,
      precision: 'f32',
      debug: { tune },
      onProgress: ({ phase }) => phases.add(phase),
    });
    try {
      const ids: number[] = [];
      for await (const { id } of loaded.generate([1016, 267, 198], { temperature: 0, maxTokens: 5 }))
        ids.push(id);
      return { ids, phases: [...phases] };
    } finally {
      loaded.dispose();
    }
  };
  const plain = await answer(false);
  const tuned = await answer(true);
  expect(tuned.ids).toEqual(plain.ids);
  expect(plain.phases).not.toContain('tune');
  expect(tuned.phases.slice(-3)).toEqual(['compile', 'tune', 'ready']);
});
