/** What speculation needs is known before a byte of weights is read. */
import { describe, expect, it } from 'vitest';
import { InvalidInputError, MissingWeightError } from '../../src/errors.ts';
import type { Plan } from '../../src/graph/plan.ts';
import type { Speculation } from '../../src/index.ts';
import { openModel } from '../../src/runtime/load/load.ts';
import type { Source } from '../../src/sources/source.ts';
import { fixtureFolders } from '../fixture-folders.ts';

const tiny = (name: string): Source => fixtureFolders('tinyModels').find((f) => f.name === name)!.source;

/** The checkpoint with other values in its config.json. */
const withConfig = (source: Source, changes: Record<string, unknown>): Source => ({
  ...source,
  async readFile(name, options) {
    const bytes = await source.readFile(name, options);
    if (name !== 'config.json' || !bytes) return bytes;
    const config = { ...JSON.parse(new TextDecoder().decode(bytes)), ...changes };
    return new TextEncoder().encode(JSON.stringify(config));
  },
});

describe('opening a checkpoint for speculation', () => {
  it('says so when it has no module to draft with', async () => {
    const opening = openModel(tiny('tiny-qwen3'), { speculate: 'mtp' });
    await expect(opening).rejects.toThrow(InvalidInputError);
    await expect(opening).rejects.toThrow(/Qwen3ForCausalLM.*num_nextn_predict_layers.*'lookup'/);
    const without = withConfig(tiny('tiny-deepseek-v3'), { num_nextn_predict_layers: 0 });
    await expect(openModel(without, { speculate: 'mtp' })).rejects.toThrow(/num_nextn_predict_layers.* is 0/);
  });

  it('names a tensor of the module that is missing, and does without it when nobody drafts', async () => {
    const shorter = withConfig(tiny('tiny-deepseek-v3'), { num_hidden_layers: 3 });
    await expect(openModel(shorter, { speculate: 'mtp' })).rejects.toThrow(MissingWeightError);
    await expect(openModel(shorter, { speculate: 'mtp' })).rejects.toThrow(/model\.layers\.3\.enorm/);
    await openModel(shorter);
  });

  it('names an option that does not exist', async () => {
    const opening = openModel(tiny('tiny-qwen3'), { speculate: 'eagle' as Speculation });
    await expect(opening).rejects.toThrow(/eagle.*mtp or lookup/);
  });

  it("takes the module's weights and cache only when it drafts, and adds nothing to the steps of a plain session", async () => {
    const programs = async (speculate?: Speculation): Promise<[name: string, names: string][]> => {
      const { plans } = await openModel(tiny('tiny-deepseek-v3'), { speculate });
      return Object.entries<Plan>({ ...plans }).map(([name, plan]) => [
        name,
        [...plan.graph.weights.keys(), ...plan.sessionTensors.map((t) => t.name)].join(' '),
      ]);
    };
    const plain = await programs();
    expect(plain.map(([name]) => name)).toEqual(['rows1', 'prefill']);
    expect((await programs('lookup')).slice(0, 2)).toEqual(plain);
    for (const speculate of [undefined, 'lookup'] as const) {
      for (const [, names] of await programs(speculate)) {
        expect(names).not.toMatch(/layers\.4\.|kv\.4|hidden/);
      }
    }
    const withModule = Object.fromEntries(await programs('mtp'));
    for (const name of ['draft1', 'draft2', 'draftPrefill']) {
      expect(withModule[name]).toMatch(/layers\.4\.eh_proj.* kv\.4/);
      expect(withModule[name]).not.toMatch(/layers\.0\.|kv\.0/);
    }
    for (const name of ['prefill', 'rows1', 'rows2']) expect(withModule[name]).toMatch(/ hidden/);
  });
});
