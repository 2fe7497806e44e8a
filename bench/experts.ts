/**
 * @file `npm run bench:experts`: decode time and bytes of weights that a token reads with 8, 64 and 256 experts, at the same
 * k and sizes. Random weights, in turns within one run. The time should not grow with the number of experts.
 */
import { fileURLToPath } from 'node:url';
import { loadModel, type Model } from '../src/index.ts';
import { folder, gpu } from '../src/node.ts';
import { randomSource } from './random-checkpoint.ts';

const NUM_EXPERTS = [8, 64, 256];
const NUM_RUNS = 5;
const NUM_TOKENS = 24;
const SIZES = { hidden: 512, moe: 192, layers: 4, heads: 8, kvHeads: 2, headDim: 64, k: 4, vocab: 1024 };

const configOf = (numExperts: number): Record<string, unknown> => ({
  architectures: ['Qwen3MoeForCausalLM'],
  hidden_act: 'silu',
  hidden_size: SIZES.hidden,
  intermediate_size: SIZES.hidden,
  moe_intermediate_size: SIZES.moe,
  num_hidden_layers: SIZES.layers,
  num_attention_heads: SIZES.heads,
  num_key_value_heads: SIZES.kvHeads,
  head_dim: SIZES.headDim,
  num_experts: numExperts,
  num_experts_per_tok: SIZES.k,
  norm_topk_prob: true,
  max_position_embeddings: 1024,
  rms_norm_eps: 1e-6,
  rope_theta: 1e6,
  tie_word_embeddings: true,
  vocab_size: SIZES.vocab,
});

/** Milliseconds of a decoded token. */
async function timeDecode(model: Model): Promise<number> {
  const generation = model.generate([1, 2, 3], { temperature: 0, maxTokens: NUM_TOKENS, stopTokens: [] });
  let next = await generation.next();
  while (!next.done) next = await generation.next();
  return 1000 / next.value.timings.decodeTokensPerSecond;
}

const median = (values: readonly number[]): number => values.toSorted((a, b) => a - b)[values.length >> 1]!;

const tokenizer = folder(fileURLToPath(new URL('../examples/models/tiny-qwen3/', import.meta.url)));
const files = { 'tokenizer.json': (await tokenizer.readFile('tokenizer.json'))! };
const models: Model[] = [];
try {
  for (const numExperts of NUM_EXPERTS) {
    const source = randomSource({ config: configOf(numExperts), files });
    models.push(await loadModel(source, { gpu: await gpu(), contextLength: 64 }));
  }
  const times = models.map((): number[] => []);
  for (let run = 0; run < NUM_RUNS; run++) {
    for (const [i, model] of models.entries()) times[i]!.push(await timeDecode(model));
  }
  const first = median(times[0]!);
  console.log(`${models[0]!.info.adapter.description}: ${JSON.stringify(SIZES)}, medians of ${NUM_RUNS}`);
  console.log('experts   weights MiB   read per token MiB   ms per token   ratio');
  models.forEach(({ info }, i) => {
    const mebibytes = (bytes: number): string => (bytes / 2 ** 20).toFixed(2);
    const time = median(times[i]!);
    console.log(
      `${String(NUM_EXPERTS[i]).padStart(7)}${mebibytes(info.weightBytes).padStart(14)}${mebibytes(info.activeWeightBytesPerToken).padStart(21)}` +
        `${time.toFixed(2).padStart(15)}${(time / first).toFixed(2).padStart(8)}`,
    );
  });
} finally {
  for (const model of models) model.dispose();
}
