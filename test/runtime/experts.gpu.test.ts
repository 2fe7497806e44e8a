/** Mixtures of experts whose router breaks down: an error instead of text, and nothing stays allocated. */
import { expect, it } from 'vitest';
import { NumericalError } from '../../src/errors.ts';
import { loadModel } from '../../src/index.ts';
import type { Source } from '../../src/sources/source.ts';
import { openCheckpoint } from '../../src/weights/checkpoint.ts';
import { fixtureFolders } from '../fixture-folders.ts';

/** The checkpoint with every value of a bfloat16 tensor replaced by the one with these bits. */
async function withTensor(source: Source, name: string, bits: number): Promise<Source> {
  const { tensors } = await openCheckpoint(source);
  const tensor = tensors.get(name)!;
  return {
    ...source,
    async *stream(file, ranges, options) {
      let at = 0;
      const sorted = [...ranges];
      for await (const bytes of source.stream(file, ranges, options)) {
        const changed = bytes.slice();
        let used = 0;
        while (used < bytes.length) {
          const range = sorted[0]!;
          const take = Math.min(bytes.length - used, range.end - range.begin - at);
          if (file === tensor.file && range.begin === tensor.begin) {
            for (let i = 0; i < take; i++) changed[used + i] = (at + i) % 2 === 0 ? bits & 255 : bits >> 8;
          }
          used += take;
          at += take;
          if (at === range.end - range.begin) {
            sorted.shift();
            at = 0;
          }
        }
        yield changed;
      }
    },
  };
}

const sourceOf = (name: string): Source => fixtureFolders('tinyModels').find((f) => f.name === name)!.source;

it.each([
  ['tiny-qwen3-moe', 'model.layers.2.mlp.gate.weight', 'NaN', 0x7fc0],
  ['tiny-qwen3-moe', 'model.layers.2.mlp.gate.weight', 'infinity', 0x7f80],
  ['tiny-deepseek-v3', 'model.layers.2.mlp.gate.weight', 'NaN', 0x7fc0],
])(
  '%s: a router whose weights are broken (%s is %s) ends in an error, not in text',
  async (name, tensor, _, bits) => {
    const source = await withTensor(sourceOf(name), tensor, bits);
    const model = await loadModel(source, { contextLength: 64 });
    try {
      // Through the kernels of prefill, and of decoding alone.
      for (const prompt of [Array.from({ length: 20 }, (_, i) => i), [5]]) {
        const generation = model.generate(prompt, { maxTokens: 4 });
        await expect(generation.next()).rejects.toThrow(NumericalError);
      }
    } finally {
      model.dispose();
    }
  },
);
