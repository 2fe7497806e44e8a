/**
 * Cases that people reported of checkpoints, C1 to C25 of the list they came from: for each the smallest input, and what is right. Most
 * have siblings in the tests of their rooms; this table is there to be read.
 */
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { createGraph, createTensor } from '../src/graph/graph.ts';
import { readRope } from '../src/graph/rope.ts';
import { Weights } from '../src/graph/weight.ts';
import { familyOf } from '../src/models/index.ts';
import { gatedMlp } from '../src/models/layers.ts';
import { samplingDefaults, stopTokensOf } from '../src/runtime/load/generation-config.ts';
import { openSource } from '../src/sources/open-source.ts';
import { announcedResolver } from '../src/weights/announced.ts';
import { openCheckpoint } from '../src/weights/checkpoint.ts';
import { hasOwnHead } from '../src/weights/own-head.ts';
import { checkpointResolver } from '../src/weights/resolve.ts';
import { findStored } from '../src/weights/stored.ts';
import { Tokenizer } from '../tokenizer/index.ts';
import { tinyJson, tinyTokenizer } from './tokenizer/tiny-json.ts';
import { vocabFilesOf } from './tokenizer/vocab-files.ts';
import { jsonBytes, type TensorToWrite, writeSafetensors } from './weights/safetensors-writer.ts';
import { wantedWeight } from './weights/wanted-weight.ts';

type Json = Record<string, unknown>;

const published = (name: string): Json =>
  JSON.parse(readFileSync(new URL(`fixtures/configs/${name}/config.json`, import.meta.url), 'utf8'));
const qwen3 = published('qwen3-0.6b');
const qwen3Moe = published('qwen3-30b-a3b');
const read = (json: Json) => familyOf(json).config(json);

type Files = Record<string, Uint8Array<ArrayBuffer>>;
const openFiles = (files: Files) =>
  openCheckpoint(openSource(Object.entries(files).map(([name, bytes]) => new File([bytes], name))));
const open = (config: Json, tensors: TensorToWrite[], more: Files = {}) =>
  openFiles({ 'config.json': jsonBytes(config), 'model.safetensors': writeSafetensors(tensors), ...more });
const bf16 = (name: string, ...shape: number[]): TensorToWrite => ({ name, dtype: 'BF16', shape });
const matrixOf = async (config: Json, tensors: TensorToWrite[], shape: number[]) =>
  checkpointResolver(await open(config, tensors))(wantedWeight(['x.weight'], [shape]));
const index = (weight_map: Record<string, string>) => ({
  'model.safetensors.index.json': jsonBytes({ weight_map }),
});

/** The zero point that a GPTQ matrix of one word has. */
async function gptqZero(quantization: Json): Promise<number> {
  const shapes: [string, 'I32' | 'F16', number[]][] = [
    ['x.qweight', 'I32', [4, 8]],
    ['x.qzeros', 'I32', [1, 1]],
    ['x.scales', 'F16', [1, 8]],
  ];
  const config = { quantization_config: { quant_method: 'gptq', bits: 4, group_size: -1, ...quantization } };
  const checkpoint = await open(
    config,
    shapes.map(([name, dtype, shape]) => ({ name, dtype, shape })),
  );
  const { pieces } = findStored(checkpoint)(wantedWeight(['x.weight'], [[8, 32]]), 0);
  const zeros = pieces.find(({ tensor }) => tensor.name === 'x.qzeros')!;
  if (zeros.lies !== 'columns') throw new Error('zero points are not stored by columns');
  const words = new Uint32Array(zeros.pack(new Uint8Array([0x88, 0x88, 0x88, 0x88])).buffer);
  // Small whole numbers as float16, in the high half.
  return [7, 8, 9].find((zero) => ({ 7: 0x4700, 8: 0x4800, 9: 0x4880 })[zero] === words[0]! >>> 16) ?? -1;
}

const shard = (name: string, dtype: 'U8' | 'F8_E8M0' = 'U8') =>
  writeSafetensors([{ name, dtype, shape: [2] }]);
const [first, second] = ['model-00001-of-00002.safetensors', 'model-00002-of-00002.safetensors'];
const namesOf = async (files: Files) => [...(await openFiles(files)).tensors.keys()];
const config = { 'config.json': jsonBytes({}) };
const idsOf = (tokenizer: Tokenizer, text: string): number[] => Array.from(tokenizer.encode(text));

const loads: [id: string, input: string, found: () => unknown, right: unknown][] = [
  ['C1', 'GPTQ, sym: true, zeros 0x88888888', () => gptqZero({ sym: true, checkpoint_format: 'gptq' }), 8],
  ['C1', 'GPTQ, sym: false, zeros 0x88888888', () => gptqZero({ sym: false }), 9],
  ['C1', 'GPTQ version 2, zeros 0x88888888', () => gptqZero({ sym: false, checkpoint_format: 'gptq_v2' }), 8],
  [
    'C2',
    'tied, with a head that differs',
    async () => {
      const head = { ...bf16('lm_head.weight', 2, 4), data: new Uint16Array(8).fill(3) };
      return hasOwnHead(
        await open({ tie_word_embeddings: true }, [bf16('model.embed_tokens.weight', 2, 4), head]),
      );
    },
    true,
  ],
  [
    'C3',
    'a token of added_tokens_decoder alone',
    () =>
      idsOf(
        tinyTokenizer(() => {}, { added_tokens_decoder: { 1030: { content: '<|new|>' } } }),
        '<|new|>',
      ),
    [1030],
  ],
  ['C4', 'use_mrope: false', () => read({ ...qwen3, use_mrope: false }), read(qwen3)],
  [
    'C5',
    "Qwen3-Coder's keys",
    () => read({ ...qwen3Moe, qkv_bias: false, use_qk_norm: true, shared_expert_intermediate_size: 0 }),
    read(qwen3Moe),
  ],
  [
    'C6',
    'defaults of PretrainedConfig',
    () => read({ return_dict: true, num_beams: 1, ...qwen3 }),
    read(qwen3),
  ],
  [
    'C7',
    'rope_scaling and rope_parameters that agree',
    () => {
      const linear = { rope_type: 'linear', factor: 2 };
      return readRope({ rope_scaling: linear, rope_parameters: linear }, 8, 'config.json');
    },
    { type: 'linear', theta: 1e4, dim: 8, factor: 2 },
  ],
  [
    'C8',
    'attn_factor of YaRN',
    () => {
      const yarn = { rope_type: 'yarn', factor: 4, original_max_position_embeddings: 64 };
      return readRope({ rope_scaling: { ...yarn, attention_factor: 1.5, attn_factor: 2 } }, 8, 'config.json');
    },
    expect.objectContaining({ attentionFactor: 3 }),
  ],
  [
    'C9',
    'an index that names what no shard has',
    () => namesOf({ ...config, ...index({ a: first!, 'mtp.fc.weight': first! }), [first!]: shard('a') }),
    ['a'],
  ],
  [
    'C10',
    'an index of other shards beside a whole file',
    () => namesOf({ ...config, ...index({ a: 'gone.safetensors' }), 'model.safetensors': shard('b') }),
    ['b'],
  ],
  [
    'C11',
    'F8_E8M0 that nobody reads',
    () => namesOf({ ...config, 'model.safetensors': shard('s', 'F8_E8M0') }),
    ['s'],
  ],
  ['C12', 'top_k: -1', () => samplingDefaults({ top_k: -1 }).topK, 0],
  [
    'C13',
    'a pad_token that is not there',
    () => tinyTokenizer(() => {}, { pad_token: '<pad>' }).padToken,
    undefined,
  ],
  [
    'C14',
    'a plan of torch_dtype: float32',
    () => announcedResolver({ torch_dtype: 'float32' })(wantedWeight(['x.weight'], [[4, 8]])).name,
    'f32',
  ],
  [
    'C15',
    'names of a compiled and of a wrapped model',
    async () => [
      ...(
        await open({}, [bf16('_orig_mod.model.a', 2), bf16('language_model.lm_head.weight', 2)])
      ).tensors.keys(),
    ],
    ['model.a', 'lm_head.weight'],
  ],
  [
    'C16',
    'gate in float8, up in bf16',
    async () => {
      const tensors: TensorToWrite[] = [
        { name: 'gate_proj.weight', dtype: 'F8_E4M3', shape: [4, 8] },
        { name: 'gate_proj.weight_scale', dtype: 'F32', shape: [1] },
        bf16('up_proj.weight', 4, 8),
        bf16('down_proj.weight', 8, 4),
      ];
      const graph = createGraph(checkpointResolver(await open({}, tensors)));
      const sizes = { hiddenSize: 8, intermediateSize: 4, hiddenAct: 'silu' } as const;
      gatedMlp(createTensor(graph, [1, 8]), new Weights(graph), sizes);
      return [...graph.weights.values()].map(({ key, format }) => `${key}: ${format.name}`).sort();
    },
    ['down_proj.weight: bf16', 'gate_proj.weight: fp8', 'up_proj.weight: bf16'],
  ],
  [
    'C17',
    'experts.gate_up_proj [E, 2I, H] and experts.down_proj',
    async () => {
      const tensors = [bf16('m.experts.gate_up_proj', 2, 8, 4), bf16('m.experts.down_proj', 2, 4, 4)];
      const w = new Weights(createGraph(checkpointResolver(await open({}, tensors))), 'm');
      const gateUp = w.experts(2, ['gate_proj', 'up_proj'], [4, 4], 4, 'interleaved');
      return [gateUp, w.experts(2, ['down_proj'], [4], 4)].map(({ format, rows }) => [format.name, rows]);
    },
    [
      ['bf16', 16],
      ['bf16', 8],
    ],
  ],
  [
    'C18',
    'MLX of 6 bits',
    async () => {
      const tensors: TensorToWrite[] = [
        { name: 'x.weight', dtype: 'U32', shape: [4, 6] },
        bf16('x.scales', 4, 1),
        bf16('x.biases', 4, 1),
      ];
      return (await matrixOf({ quantization: { bits: 6, group_size: 32 } }, tensors, [4, 32])).name;
    },
    'int8-32-bf16-bias',
  ],
  [
    'C18',
    'float8 of fbgemm and of ModelOpt',
    async () => {
      const tensors: TensorToWrite[] = [
        { name: 'x.weight', dtype: 'F8_E4M3', shape: [4, 8] },
        { name: 'x.weight_scale', dtype: 'F32', shape: [4, 1] },
      ];
      const kinds = [{ quant_method: 'fbgemm_fp8' }, { quant_method: 'modelopt', quant_algo: 'FP8' }];
      const found = kinds.map((quantization_config) => matrixOf({ quantization_config }, tensors, [4, 8]));
      return (await Promise.all(found)).map(({ name }) => name);
    },
    ['fp8', 'fp8'],
  ],
  [
    'C19',
    'dual_chunk_attention_config',
    () =>
      read({
        ...qwen3,
        max_position_embeddings: 1_010_000,
        dual_chunk_attention_config: {
          chunk_size: 262_144,
          local_size: 8192,
          original_max_position_embeddings: 262_144,
        },
      }).maxPositionEmbeddings,
    253_952,
  ],
  [
    'C20',
    'shards without an index',
    () => namesOf({ ...config, [first!]: shard('a'), [second!]: shard('b') }),
    ['a', 'b'],
  ],
  [
    'C20',
    'no architecture, a known model_type',
    () => read({ ...qwen3, architectures: undefined }),
    read(qwen3),
  ],
  [
    'C20',
    'vocab.json and merges.txt',
    async () => {
      const files = vocabFilesOf(tinyJson());
      return idsOf(
        await Tokenizer.fromVocabFiles(files, { tokenizer_class: 'Qwen2Tokenizer' }),
        'Hello world',
      );
    },
    idsOf(tinyTokenizer(), 'Hello world'),
  ],
  [
    'C21',
    'Split that is Removed and inverted, by a pattern that matches all',
    () =>
      idsOf(
        tinyTokenizer((json) => {
          Object.assign(json.pre_tokenizer.pretokenizers[0]!, { behavior: 'Removed', invert: true });
        }),
        "It's 12 o'clock",
      ),
    idsOf(tinyTokenizer(), "It's 12 o'clock"),
  ],
  [
    'C22',
    'rope_theta beside another inside rope_parameters',
    () => readRope({ rope_theta: 1e4, rope_parameters: { rope_theta: 1e6 } }, 8, 'config.json').theta,
    1e6,
  ],
  [
    'C24',
    'flags of added_tokens_decoder that differ',
    () => {
      const token = { content: '<|im_end|>', special: true, rstrip: true };
      const [id] = idsOf(tinyTokenizer(), '<|im_end|>');
      return idsOf(
        tinyTokenizer(() => {}, { added_tokens_decoder: { [id!]: token } }),
        '<|im_end|>  ',
      ).length;
    },
    1,
  ],
  ['C25', 'hidden_act: swish', () => read({ ...qwen3, hidden_act: 'swish' }), read(qwen3)],
  [
    'C25',
    'a window that reaches no layer',
    () => read({ ...qwen3, use_sliding_window: true, sliding_window: 40_960, max_window_layers: 0 }),
    read(qwen3),
  ],
  ['C25', 'architectures: []', () => read({ ...qwen3, architectures: [] }), read(qwen3)],
  [
    'C25',
    "./ before a shard's name",
    () => namesOf({ ...config, ...index({ a: `./${first}` }), [first!]: shard('a') }),
    ['a'],
  ],
  [
    'C25',
    'a tensor in two shards with equal bytes',
    () => namesOf({ ...config, [first!]: shard('a'), [second!]: shard('a') }),
    ['a'],
  ],
  [
    'C25',
    'add_eos_token: true',
    () =>
      idsOf(
        tinyTokenizer(() => {}, { eos_token: '<|im_end|>', add_eos_token: true }),
        'a',
      ).at(-1),
    idsOf(tinyTokenizer(), '<|im_end|>')[0],
  ],
];

describe('loads, and gives what is right', () => {
  it.each(loads)('%s: %s', async (_id, _input, found, right) => {
    expect(await found()).toEqual(right);
  });
});

const refused: [id: string, input: string, run: () => unknown, message: RegExp][] = [
  ['C6', 'an unknown key', () => read({ ...qwen3, foo: 1 }), /foo: 1.*may be removed from config\.json/],
  [
    'C11',
    'F8_E8M0 that is needed',
    () => matrixOf({}, [{ name: 'x.weight', dtype: 'F8_E8M0', shape: [4, 8] }], [4, 8]),
    /x\.weight is stored as F8_E8M0, wanted one of/,
  ],
  ['C12', 'min_p: 1.5', () => samplingDefaults({ min_p: 1.5 }), /^generation_config\.json: min_p is 1\.5/],
  [
    'C14',
    'a plan of NVFP4',
    () => announcedResolver({ quantization_config: { quant_method: 'modelopt', quant_algo: 'NVFP4' } }),
    /NVFP4.*what works is/,
  ],
  [
    'C15',
    'bitsandbytes without quant_method',
    () => announcedResolver({ quantization_config: { load_in_4bit: true } }),
    /"load_in_4bit":true/,
  ],
  [
    'C15',
    "PEFT's prefix",
    () => matrixOf({}, [bf16('base_model.model.x.weight', 4, 8)], [4, 8]),
    /prefix "base_model\.model\."/,
  ],
  [
    'C15',
    'a lone adapter',
    () => openFiles({ 'adapter_model.safetensors': shard('a') }),
    /this is a LoRA adapter/,
  ],
  [
    'C18',
    'bitsandbytes nf4',
    () => announcedResolver({ quantization_config: { quant_method: 'bitsandbytes', load_in_4bit: true } }),
    /"quant_method":"bitsandbytes".*what works is/,
  ],
  [
    'C22',
    'rope_theta beside another inside rope_scaling',
    () => readRope({ rope_theta: 1e4, rope_scaling: { rope_theta: 1e6 } }, 8, 'config.json'),
    /rope_theta 10000, and in rope_scaling 1000000/,
  ],
  [
    'C23',
    'an end that is a text',
    () => stopTokensOf({}, { eos_token_id: '</s>' }),
    /^generation_config\.json: eos_token_id/,
  ],
];

describe('is refused, and says why', () => {
  it.each(refused)('%s: %s', async (_id, _input, run, message) => {
    await expect((async () => run())()).rejects.toThrow(message);
  });
});

it('every case has a row', () => {
  const ids = new Set([...loads, ...refused].map(([id]) => id));
  expect(Array.from({ length: 25 }, (_, i) => `C${i + 1}`).filter((id) => !ids.has(id))).toEqual([]);
});
