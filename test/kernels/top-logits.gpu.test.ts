import { expect, test } from 'vitest';
import { topLogits as variants } from '../../kernels/sample/top-logits.ts';
import { sessionTensor } from '../../src/graph/graph.ts';
import { topLogits } from '../../src/graph/ops/top-logits.ts';
import { topLogits as reference } from '../reference/top-logits.ts';
import { freshSeed, type Outcome, randomNormal, runVariants, seededRandom } from './harness.ts';

const COUNT = 20;
const NO_ID = 0xffff_ffff;

interface Entry {
  id: number;
  logit: number;
}

/** The entries in rows of words, without those that stand for none. */
function unpack(words: Uint32Array): Entry[] {
  const floats = new Float32Array(words.buffer, words.byteOffset, words.length);
  return Array.from({ length: words.length / 2 }, (_, i) => ({
    id: words[2 * i]!,
    logit: floats[2 * i + 1]!,
  })).filter(({ id }) => id !== NO_ID);
}

/** Runs the ops of the graph one after another, each with what the one before gave. */
async function run(logits: Float32Array, rows: number): Promise<{ label: string; found: Entry[][] }[]> {
  let data: Float32Array | Uint32Array = logits;
  for (let last = 1; ; last++) {
    let isLast = false;
    const outcomes: Outcome[] = await runVariants(variants, {
      record(graph) {
        topLogits(
          sessionTensor(graph, 'logits', [rows, logits.length / rows], 'f32', { kind: 'carry' }),
          COUNT,
        );
        isLast = graph.ops.length <= last;
        graph.ops.length = last;
      },
      data: { x: data },
      batch: { rows },
    });
    data = outcomes[0]!.outputs.top!;
    if (!isLast) continue;
    return outcomes.map(({ label, outputs }) => {
      const words = outputs.top as Uint32Array;
      const each = words.length / rows;
      return {
        label,
        found: Array.from({ length: rows }, (_, r) => unpack(words.slice(r * each, (r + 1) * each))),
      };
    });
  }
}

test.each([
  [1, 1],
  [7, 3],
  [31, 2],
  [1021, 8],
  [2049, 1],
  [5003, 3],
  [151_936, 2],
])(
  'finds the likeliest of a vocabulary of %i in %i rows, whatever is equal or impossible',
  async (vocab, rows) => {
    const seed = freshSeed();
    const random = seededRandom(seed);
    for (const spread of [0, 0.3, 8]) {
      // Rounded logits are equal in many places; some tokens cannot come.
      const logits = randomNormal(random, rows * vocab, spread).map((x) =>
        random() < 0.1 ? Number.NEGATIVE_INFINITY : random() < 0.5 ? Math.round(x) : x,
      );
      if (vocab === 7) logits.fill(Number.NEGATIVE_INFINITY, 7, 14);
      for (const { label, found } of await run(logits, rows)) {
        for (let r = 0; r < rows; r++) {
          const wanted = reference(logits.subarray(r * vocab, (r + 1) * vocab), COUNT);
          // Both zeros are one number.
          const plain = wanted.map(({ id, logit }) => ({ id, logit: logit + 0 }));
          expect(found[r], `${label}, row ${r}, spread ${spread}, seed ${seed}`).toEqual(plain);
        }
      }
    }
  },
);
