/** Debug flags change how a model runs, never what it answers. */
import { expect, it, vi } from 'vitest';
import { type DebugFlags, InvalidInputError, loadModel, parseDebugFlags } from '../../src/index.ts';
import { fixtureFolders } from '../fixture-folders.ts';

const sourceOf = (name: string) => fixtureFolders('tinyModels').find((f) => f.name === name)!.source;
const PROMPT = [1016, 267, 198, 20, 20, 326, 220, 21, 300, 589, 1017, 198, 1016, 273, 198];

async function answer(debug: DebugFlags, name = 'tiny-qwen3'): Promise<number[]> {
  const model = await loadModel(sourceOf(name), { contextLength: 128, precision: 'f32', debug });
  try {
    const ids: number[] = [];
    for await (const { id } of model.generate(PROMPT, { temperature: 0, maxTokens: 10 })) ids.push(id);
    return ids;
  } finally {
    model.dispose();
  }
}

it('gives the same answer with and without fusion, buffer reuse, one pass, timestamps and subgroups, and prints what is asked for', async () => {
  const plain = await answer({});
  expect(plain).toHaveLength(10);
  const info = vi.spyOn(console, 'info').mockImplementation(() => {});
  const table = vi.spyOn(console, 'table').mockImplementation(() => {});
  try {
    for (const query of [
      'fuse=0',
      'reuse=0',
      'eager=1',
      'profile=1',
      'subgroups=0&f16=0',
      'debug=plan,wgsl',
    ]) {
      expect(await answer(parseDebugFlags(new URLSearchParams(query))), query).toEqual(plain);
    }
    const printed = info.mock.calls.flat().join('\n');
    expect(printed).toContain('dispatches; ');
    expect(printed).toContain('fn main(');
    expect(table.mock.calls.flat().flat()).toContainEqual(
      expect.objectContaining({ label: expect.stringMatching(/^linear:/) }),
    );
  } finally {
    info.mockRestore();
    table.mockRestore();
  }
});

it('gives the same answer of experts and latent attention without fusion, without reuse, op by op, and expert by expert', async () => {
  const plain = await answer({}, 'tiny-deepseek-v3');
  expect(plain).toHaveLength(10);
  for (const query of ['fuse=0', 'reuse=0', 'eager=1', 'kernel=expertLinear:matvec']) {
    const found = await answer(parseDebugFlags(new URLSearchParams(query)), 'tiny-deepseek-v3');
    expect(found, query).toEqual(plain);
  }
});

it('names a flag or a variant that does not exist', async () => {
  expect(() => parseDebugFlags(new URLSearchParams('fuse=yes'))).toThrow(InvalidInputError);
  expect(() => parseDebugFlags(new URLSearchParams('debug=everything'))).toThrow(/everything.*plan, wgsl/);
  expect(parseDebugFlags(new URLSearchParams('model=x&other=1'))).toEqual({});
  await expect(answer({ kernel: { linear: 'nonsense' } })).rejects.toThrow(/linear:nonsense.*matvec/);
});
