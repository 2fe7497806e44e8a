/** @file Which GGUF file is opened, sets of several, and what is said of those that cannot be read. */
import { describe, expect, test } from 'vitest';
import { ShaderloomError } from '../../../src/errors.ts';
import { filesSource } from '../../../src/sources/file-source.ts';
import { openCheckpoint } from '../../../src/weights/checkpoint.ts';
import { f32, type TensorToWrite, text, u32, type Value, writeGguf } from './writer.ts';

type Keys = Record<string, Value | undefined>;

const TOKENS = ['a', 'b', '<|im_end|>', '[PAD3]'];

const KEYS: Keys = {
  'general.architecture': text('qwen3'),
  'qwen3.block_count': u32(1),
  'qwen3.context_length': u32(512),
  'qwen3.embedding_length': u32(32),
  'qwen3.feed_forward_length': u32(32),
  'qwen3.attention.head_count': u32(2),
  'qwen3.attention.head_count_kv': u32(1),
  'qwen3.attention.key_length': u32(16),
  'qwen3.attention.layer_norm_rms_epsilon': f32(1e-6),
  'qwen3.rope.freq_base': f32(1e6),
  'tokenizer.ggml.model': text('gpt2'),
  'tokenizer.ggml.pre': text('qwen2'),
  'tokenizer.ggml.tokens': { type: 'strings', value: TOKENS },
  'tokenizer.ggml.token_type': { type: 'i32s', value: [1, 1, 3, 5] },
  'tokenizer.ggml.merges': { type: 'strings', value: [] },
  'tokenizer.ggml.eos_token_id': u32(2),
};

const tensor = (name: string, ...dims: number[]): TensorToWrite => ({
  name,
  dims,
  type: 0,
  bytes: new Uint8Array(4 * dims.reduce((a, b) => a * b, 1)),
});

const TENSORS = [tensor('token_embd.weight', 32, 4), tensor('output_norm.weight', 32)];

const entries = (keys: Keys): [string, Value][] =>
  Object.entries(keys).flatMap(([key, value]) => (value ? [[key, value]] : []));

const model = (more: Keys = {}, tensors: TensorToWrite[] = TENSORS): Uint8Array<ArrayBuffer> =>
  writeGguf({ keys: entries({ ...KEYS, ...more }), tensors });

const sourceOf = (files: Record<string, Uint8Array<ArrayBuffer> | string>) =>
  filesSource(Object.entries(files).map(([name, bytes]) => new File([bytes], name)));

const fileOf = async (names: string[], file?: string): Promise<string> => {
  const files = Object.fromEntries(names.map((name) => [name, model()]));
  const { tensors } = await openCheckpoint(sourceOf(files), { file });
  return tensors.get('model.embed_tokens.weight')!.file;
};

describe('of the files of a folder', () => {
  test.each<[names: string[], file: string | undefined, chosen: string]>([
    [['m.gguf'], undefined, 'm.gguf'],
    [['m-Q8_0.gguf', 'm-Q4_K_M.gguf', 'm-Q2_K.gguf'], undefined, 'm-Q4_K_M.gguf'],
    [['m.q4_k_m.gguf', 'm.q8_0.gguf', 'mmproj-m-Q4_K_M.gguf', 'm.imatrix.gguf'], undefined, 'm.q4_k_m.gguf'],
    [['m-Q8_0.gguf', 'm-Q4_K_M.gguf'], '*q8_0*', 'm-Q8_0.gguf'],
    [['m-Q8_0.gguf', 'm-Q4_K_M.gguf'], 'm-Q8_0.gguf', 'm-Q8_0.gguf'],
  ])('%j, asked for %s: %s is read', async (names, file, chosen) => {
    expect(await fileOf(names, file)).toBe(chosen);
  });

  test.each<[names: string[], file: string | undefined, says: RegExp]>([
    [
      ['m-Q8_0.gguf', 'm-Q5_0.gguf'],
      undefined,
      /several GGUF files; say which.*m-Q5_0\.gguf \(\d+ bytes\), m-Q8_0/,
    ],
    [['m-Q8_0.gguf'], '*Q6_K*', /no GGUF file is named like \*Q6_K\*\. There are m-Q8_0\.gguf \(\d+ bytes\)/],
    [['a-Q8_0.gguf', 'b-Q8_0.gguf'], '*Q8_0*', /several GGUF files are named like \*Q8_0\*/],
    [['m.gguf'], 'n.gguf', /n\.gguf of .*no such file/],
    [['m-00002-of-00002.gguf'], undefined, /part of a set whose first file is not there/],
  ])('%j, asked for %s: it says %s', async (names, file, says) => {
    await expect(fileOf(names, file)).rejects.toThrow(says);
  });

  test('safetensors come first, and where only config.json is beside it the GGUF file is read', async () => {
    const files = { 'config.json': '{}', 'm.gguf': model() };
    const { config } = await openCheckpoint(sourceOf(files));
    expect(config).toMatchObject({ model_type: 'qwen3', hidden_size: 32 });
  });
});

describe('a set of files', () => {
  const u16 = (value: number): Value => ({ type: 'u16', value });
  const part = (no: number, count: number, tensors: TensorToWrite[], all = 2): Uint8Array<ArrayBuffer> =>
    model(
      { 'split.no': u16(no), 'split.count': u16(count), 'split.tensors.count': { type: 'i32', value: all } },
      tensors,
    );
  const names = ['m-00001-of-00002.gguf', 'm-00002-of-00002.gguf'] as const;
  const open = (first: Uint8Array<ArrayBuffer>, second?: Uint8Array<ArrayBuffer>, file?: string) =>
    openCheckpoint(sourceOf({ [names[0]]: first, ...(second && { [names[1]]: second }) }), { file });

  test('is one checkpoint, whose first file may hold no tensor', async () => {
    const { tensors } = await open(part(0, 2, []), part(1, 2, TENSORS));
    expect([...tensors.values()].map(({ name, file }) => [name, file])).toEqual([
      ['model.embed_tokens.weight', names[1]],
      ['model.norm.weight', names[1]],
    ]);
  });

  test.each<[what: string, opened: () => Promise<unknown>, says: RegExp]>([
    ['one is missing', () => open(part(0, 2, TENSORS)), /m-00002-of-00002\.gguf of .*no such file/],
    [
      'one is of another place',
      () => open(part(0, 2, []), part(2, 3, TENSORS)),
      /part 3 of 3, wanted part 2 of 2/,
    ],
    ['tensors are missing', () => open(part(0, 2, [], 3), part(1, 2, TENSORS, 3)), /2 tensors, wanted 3/],
    [
      'it is opened from the second',
      () => open(part(0, 2, []), part(1, 2, TENSORS), names[1]),
      /part 2 of 2\. Give the first one, m-00001-of-00002\.gguf/,
    ],
  ])('where %s, says so', async (_, opened, says) => {
    await expect(opened()).rejects.toThrow(says);
  });
});

test.each<[what: string, keys: Keys, says: RegExp]>([
  [
    'an architecture that is not run',
    { 'general.architecture': text('mamba') },
    /general\.architecture is "mamba".*qwen3/,
  ],
  ['no architecture', { 'general.architecture': undefined }, /general\.architecture is undefined/],
  ['a missing key', { 'qwen3.embedding_length': undefined }, /qwen3\.embedding_length is missing/],
  [
    'a key of another type',
    { 'qwen3.block_count': text('two') },
    /qwen3\.block_count is "two", wanted a number/,
  ],
  ['another kind of tokenizer', { 'tokenizer.ggml.model': text('rwkv') }, /tokenizer\.ggml\.model is "rwkv"/],
  [
    'a split that is not known',
    { 'tokenizer.ggml.pre': text('poro-chat') },
    /tokenizer\.ggml\.pre is "poro-chat".*llama-bpe/,
  ],
  [
    'too few types of tokens',
    { 'tokenizer.ggml.token_type': { type: 'i32s', value: [1] } },
    /1 values for 4 tokens/,
  ],
  ['a merge of one part', { 'tokenizer.ggml.merges': { type: 'strings', value: ['ab'] } }, /merges has "ab"/],
  ['no tokens', { 'tokenizer.ggml.tokens': undefined }, /no tokenizer\.ggml\.tokens/],
  [
    'a scaling that is not known',
    { 'qwen3.rope.scaling.type': text('spiral'), 'qwen3.rope.scaling.factor': f32(2) },
    /rope\.scaling\.type is "spiral"/,
  ],
])('%s is an error that names it', async (_, keys, says) => {
  const opening = openCheckpoint(sourceOf({ 'm.gguf': model(keys) }));
  await expect(opening).rejects.toThrow(ShaderloomError);
  await expect(opening).rejects.toThrow(says);
});

test('a tensor that no model of the architecture has is an error that names it', async () => {
  const tensors = [...TENSORS, tensor('blk.0.attn_sinks.weight', 32)];
  await expect(openCheckpoint(sourceOf({ 'm.gguf': model({}, tensors) }))).rejects.toThrow(
    /"blk\.0\.attn_sinks\.weight"/,
  );
});

test('publishers may advise how to sample, and name what ends an answer', async () => {
  const keys = { 'general.sampling.temp': f32(0.7), 'general.sampling.top_k': u32(20) };
  const { generationConfig } = await openCheckpoint(sourceOf({ 'm.gguf': model(keys) }));
  expect(generationConfig).toEqual({ do_sample: true, temperature: 0.7, top_k: 20, eos_token_id: [2] });
});
