/**
 * @file `npm run bench:experts`: decode time and bytes of weights that a token reads with 8, 64 and 256 experts, at the same
 * k and sizes. Random weights, in turns within one run. The time should not grow with the number of experts.
 */
import { mkdtemp, open, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { loadModel, type Model } from '../src/index.ts';
import { folder, gpu } from '../src/node.ts';

const NUM_EXPERTS = [8, 64, 256];
const NUM_RUNS = 5;
const NUM_TOKENS = 24;
const SIZES = { hidden: 512, moe: 192, layers: 4, heads: 8, kvHeads: 2, headDim: 64, k: 4, vocab: 1024 };

type Tensors = [name: string, shape: number[]][];

function tensorsOf(numExperts: number): Tensors {
  const { hidden, moe, layers, heads, kvHeads, headDim, vocab } = SIZES;
  const list: Tensors = [['model.embed_tokens.weight', [vocab, hidden]]];
  for (let layer = 0; layer < layers; layer++) {
    const at = (name: string, ...shape: number[]): void => {
      list.push([`model.layers.${layer}.${name}.weight`, shape]);
    };
    at('input_layernorm', hidden);
    at('self_attn.q_proj', heads * headDim, hidden);
    at('self_attn.k_proj', kvHeads * headDim, hidden);
    at('self_attn.v_proj', kvHeads * headDim, hidden);
    at('self_attn.q_norm', headDim);
    at('self_attn.k_norm', headDim);
    at('self_attn.o_proj', hidden, heads * headDim);
    at('post_attention_layernorm', hidden);
    at('mlp.gate', numExperts, hidden);
    for (let e = 0; e < numExperts; e++) {
      at(`mlp.experts.${e}.gate_proj`, moe, hidden);
      at(`mlp.experts.${e}.up_proj`, moe, hidden);
      at(`mlp.experts.${e}.down_proj`, hidden, moe);
    }
  }
  list.push(['model.norm.weight', [hidden]]);
  return list;
}

const configOf = (numExperts: number): object => ({
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

/** Writes a checkpoint of random bfloat16 around 0.03, a tensor at a time. */
async function writeCheckpoint(directory: string, numExperts: number): Promise<void> {
  const tensors = tensorsOf(numExperts);
  const bytesOf = (shape: number[]): number => 2 * shape.reduce((a, b) => a * b, 1);
  let end = 0;
  const header: Record<string, object> = {};
  for (const [name, shape] of tensors) {
    header[name] = { dtype: 'BF16', shape, data_offsets: [end, end + bytesOf(shape)] };
    end += bytesOf(shape);
  }
  const json = Buffer.from(JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(json.length));
  const file = await open(join(directory, 'model.safetensors'), 'w');
  try {
    await file.write(length);
    await file.write(json);
    for (const [, shape] of tensors) {
      const values = new Uint16Array(bytesOf(shape) / 2);
      for (let i = 0; i < values.length; i++) {
        const random = Math.floor(Math.random() * 0x10000);
        // A sign, an exponent of 2^-6 or 2^-5, a mantissa.
        values[i] = (random & 0x8000) | (0x3c80 + (random & 0xff));
      }
      await file.write(values);
    }
  } finally {
    await file.close();
  }
  await writeText(directory, 'config.json', JSON.stringify(configOf(numExperts)));
  const tokenizer = folder(fileURLToPath(new URL('../examples/models/tiny-qwen3/', import.meta.url)));
  for (const name of ['tokenizer.json', 'tokenizer_config.json']) {
    await writeText(directory, name, new TextDecoder().decode(await tokenizer.readFile(name)));
  }
}

async function writeText(directory: string, name: string, text: string): Promise<void> {
  const file = await open(join(directory, name), 'w');
  await file.write(text);
  await file.close();
}

/** Milliseconds of a decoded token. */
async function timeDecode(model: Model): Promise<number> {
  const generation = model.generate([1, 2, 3], { temperature: 0, maxTokens: NUM_TOKENS, stopTokens: [] });
  let next = await generation.next();
  while (!next.done) next = await generation.next();
  return 1000 / next.value.timings.decodeTokensPerSecond;
}

const median = (values: readonly number[]): number => values.toSorted((a, b) => a - b)[values.length >> 1]!;

const directory = await mkdtemp(join(tmpdir(), 'experts-'));
const models: Model[] = [];
try {
  for (const numExperts of NUM_EXPERTS) {
    await writeCheckpoint(directory, numExperts);
    models.push(await loadModel(folder(directory), { gpu: await gpu(), contextLength: 64 }));
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
  await rm(directory, { recursive: true, force: true });
}
