import { readdirSync, readFileSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import fc from 'fast-check';
import { afterEach, describe, expect, test } from 'vitest';
import { CorruptCheckpointError, SourceError } from '../../src/errors.ts';
import { folder } from '../../src/node.ts';
import { openSource } from '../../src/sources/open-source.ts';
import type { Source } from '../../src/sources/source.ts';
import { urlSource } from '../../src/sources/url-source.ts';
import { openCheckpoint, readJson, streamTensors } from '../../src/weights/checkpoint.ts';
import { numCases } from '../num-cases.ts';
import { type Behaviour, type FileServer, serve } from '../sources/file-server.ts';
import {
  type Header,
  jsonBytes,
  type TensorToWrite,
  writeIndex,
  writeSafetensors,
} from './safetensors-writer.ts';

const goldens = fileURLToPath(new URL('../fixtures/goldens/', import.meta.url));

const servers: FileServer[] = [];
const folders: string[] = [];
afterEach(async () => {
  await Promise.all(servers.splice(0).map((server) => server.close()));
  await Promise.all(folders.splice(0).map((folder) => rm(folder, { recursive: true })));
});

type Files = Record<string, Uint8Array<ArrayBuffer>>;

async function serveFiles(files: Files, behaviour: Behaviour = {}): Promise<FileServer> {
  const server = await serve(new Map(Object.entries(files)), behaviour);
  servers.push(server);
  return server;
}

async function writeFolder(files: Files): Promise<Source> {
  const path = await mkdtemp(join(tmpdir(), 'shaderloom-checkpoint-'));
  folders.push(path);
  for (const [name, bytes] of Object.entries(files)) await writeFile(join(path, name), bytes);
  return folder(path);
}

function pageSource(files: Files): Source {
  return openSource(Object.entries(files).map(([name, bytes]) => new File([bytes], name)));
}

function readGolden(name: string): Files {
  const path = join(goldens, name);
  return Object.fromEntries(
    readdirSync(path).map((file) => [file, new Uint8Array(readFileSync(join(path, file)))]),
  );
}

/** A small checkpoint of two shards. */
const shards: Record<string, TensorToWrite[]> = {
  'model-00001-of-00002.safetensors': [
    { name: 'a', dtype: 'BF16', shape: [3, 5] },
    { name: 'b', dtype: 'F32', shape: [7] },
  ],
  'model-00002-of-00002.safetensors': [{ name: 'c', dtype: 'F16', shape: [2, 2, 2] }],
};
function checkpointFiles(changes: Record<string, Uint8Array<ArrayBuffer> | undefined> = {}): Files {
  const files: Record<string, Uint8Array<ArrayBuffer> | undefined> = {
    'config.json': jsonBytes({ model_type: 'test' }),
    'model.safetensors.index.json': writeIndex(shards),
    ...Object.fromEntries(Object.entries(shards).map(([file, tensors]) => [file, writeSafetensors(tensors)])),
    ...changes,
  };
  return Object.fromEntries(
    Object.entries(files).filter((entry): entry is [string, Uint8Array<ArrayBuffer>] => !!entry[1]),
  );
}

describe.each(['qwen2', 'qwen3-dense', 'qwen3-dense-untied-yarn'])('the published layout of %s', (name) => {
  const sources: [string, () => Promise<Source>][] = [
    ['a folder', async () => folder(join(goldens, name))],
    ['the files of a page', async () => pageSource(readGolden(name))],
    ['a server', async () => openSource((await serveFiles(readGolden(name))).url)],
    [
      'a server without byte ranges',
      async () => openSource((await serveFiles(readGolden(name), { ranges: false })).url),
    ],
    [
      'a server that breaks every other connection',
      async () => {
        const cutAfter = ({ index }: { index: number }) => (index % 2 ? 1000 + index * 7919 : undefined);
        return urlSource((await serveFiles(readGolden(name), { cutAfter })).url, { retryDelay: 1 });
      },
    ],
  ];
  test.each(sources)('opens from %s, and every tensor streams byte for byte', async (_, open) => {
    const checkpoint = await openCheckpoint(await open());
    expect(checkpoint.config.model_type).toMatch(/qwen/);
    expect(checkpoint.generationConfig.eos_token_id).toBeDefined();
    const files = readGolden(name);
    const index = files['model.safetensors.index.json'];
    if (index) {
      const { metadata, weight_map: weightMap } = JSON.parse(new TextDecoder().decode(index));
      expect(checkpoint.totalBytes).toBe(metadata.total_size);
      expect(Object.fromEntries([...checkpoint.tensors].map(([name, { file }]) => [name, file]))).toEqual(
        weightMap,
      );
    }
    const seen = new Map<string, number>();
    const backwards = [...checkpoint.tensors.values()].reverse();
    for await (const { tensor, offset, bytes } of streamTensors(checkpoint.source, backwards)) {
      expect(offset).toBe(seen.get(tensor.name) ?? 0);
      seen.set(tensor.name, offset + bytes.length);
      const wanted = files[tensor.file]!.subarray(
        tensor.begin + offset,
        tensor.begin + offset + bytes.length,
      );
      expect(Buffer.compare(bytes, wanted)).toBe(0);
    }
    for (const { name, begin, end } of checkpoint.tensors.values()) expect(seen.get(name)).toBe(end - begin);
  });
});

describe('opening', () => {
  test('asks a server once per file, and for no weights', async () => {
    const tensors: TensorToWrite[] = [{ name: 'x', dtype: 'F32', shape: [1_000_000] }];
    const names = Array.from({ length: 20 }, (_, index) => `shard-${index}.safetensors`);
    const all = Object.fromEntries(
      names.map((name, index) => [name, [{ ...tensors[0]!, name: `x${index}` }]]),
    );
    const files = { 'config.json': jsonBytes({}), 'model.safetensors.index.json': writeIndex(all) };
    for (const [name, tensors] of Object.entries(all))
      Object.assign(files, { [name]: writeSafetensors(tensors) });
    const server = await serveFiles(files);
    const { tensors: found, totalBytes } = await openCheckpoint(openSource(server.url));
    expect(found.size).toBe(20);
    expect(totalBytes).toBe(80_000_000);
    expect(server.requests).toHaveLength(3 + 20);
    expect(server.sentBytes()).toBeLessThan(22 * 65536);
  });

  test('reads a header that is longer than the first request', async () => {
    const tensors = Array.from({ length: 3000 }, (_, index): TensorToWrite => {
      return { name: `model.layers.${index}.self_attn.q_proj.weight`, dtype: 'U8', shape: [index % 3] };
    });
    const files = { 'config.json': jsonBytes({}), 'model.safetensors': writeSafetensors(tensors) };
    for (const source of [pageSource(files), openSource((await serveFiles(files, { ranges: false })).url)]) {
      const { tensors: found } = await openCheckpoint(source);
      expect([...found.keys()].sort()).toEqual(tensors.map(({ name }) => name).sort());
    }
  });

  test('takes a single safetensors file of another name where the files can be listed', async () => {
    const files = checkpointFiles({
      'model.safetensors.index.json': undefined,
      'model-00001-of-00002.safetensors': undefined,
    });
    const { tensors } = await openCheckpoint(await writeFolder(files));
    expect([...tensors.keys()]).toEqual(['c']);
  });

  test('keeps tensors that the index does not mention', async () => {
    const index = jsonBytes({ weight_map: { a: 'model-00001-of-00002.safetensors' } });
    const { tensors } = await openCheckpoint(
      pageSource(checkpointFiles({ 'model.safetensors.index.json': index })),
    );
    expect([...tensors.keys()]).toEqual(['a', 'b']);
  });

  test('stops with the reason of its signal', async () => {
    const server = await serveFiles(checkpointFiles(), { answer: ({ name }) => name.startsWith('model-') });
    const controller = new AbortController();
    const opening = openCheckpoint(openSource(server.url), { signal: controller.signal });
    await expect.poll(() => server.requests.length, { interval: 5 }).toBe(5);
    controller.abort('enough');
    await expect(opening).rejects.toBe('enough');
  });

  test('stops asking for other shards when one is bad', async () => {
    const names = Array.from(
      { length: 40 },
      (_, index) => `shard-${String(index).padStart(2, '0')}.safetensors`,
    );
    const all = Object.fromEntries(
      names.map((file) => [file, [{ name: file, dtype: 'U8', shape: [1] } as const]]),
    );
    const files: Files = {
      'config.json': jsonBytes({}),
      'model.safetensors.index.json': writeIndex(all as never),
    };
    const server = await serveFiles(files);
    await expect(openCheckpoint(openSource(server.url))).rejects.toThrow(
      /^shard-\d\d\.safetensors of .*no such file/,
    );
    expect(server.requests.length).toBeLessThan(20);
  });
});

describe('names of tensors', () => {
  const namesOf = async (...names: string[]): Promise<string[]> => {
    const tensors = names.map((name): TensorToWrite => ({ name, dtype: 'U8', shape: [1] }));
    const files = { 'config.json': jsonBytes({}), 'model.safetensors': writeSafetensors(tensors) };
    const { tensors: found } = await openCheckpoint(pageSource(files));
    for (const [name, tensor] of found) expect(tensor.name).toBe(name);
    return [...found.keys()];
  };
  const usual = [
    'model.embed_tokens.weight',
    'model.layers.0.mlp.up_proj.weight',
    'model.norm.weight',
    'lm_head.weight',
  ];

  test.each([
    ['as they are', usual],
    ['of a compiled model', usual.map((name) => `_orig_mod.${name}`)],
    ['of the language model of another', usual.map((name) => `language_model.${name}`)],
    [
      'of the language model inside the model',
      usual.map((name) => name.replace('model.', 'model.language_model.')),
    ],
    [
      'of a bare model',
      ['embed_tokens.weight', 'layers.0.mlp.up_proj.weight', 'norm.weight', 'lm_head.weight'],
    ],
  ])('%s are the usual ones', async (_, names) => {
    expect(await namesOf(...names)).toEqual(usual);
  });

  test('of other kinds of models stay as they are', async () => {
    expect(await namesOf('visual.blocks.0.weight', 'x')).toEqual(['visual.blocks.0.weight', 'x']);
  });

  test('that two tensors would share are an error', async () => {
    const opening = namesOf('model.norm.weight', '_orig_mod.model.norm.weight');
    await expect(opening).rejects.toThrow(CorruptCheckpointError);
    await expect(opening).rejects.toThrow(
      /"_orig_mod\.model\.norm\.weight" and "model\.norm\.weight" are the same/,
    );
  });
});

describe('a checkpoint that is not whole', () => {
  const shard2 = 'model-00002-of-00002.safetensors';
  const whole2 = writeSafetensors(shards[shard2]!);

  test('without config.json says what was looked for, and what is there', async () => {
    const files = checkpointFiles({ 'config.json': undefined });
    const fromFolder = openCheckpoint(await writeFolder(files));
    await expect(fromFolder).rejects.toThrow(SourceError);
    await expect(fromFolder).rejects.toThrow(
      /there is no config\.json\. .*Found there: .*model-00001-of-00002\.safetensors/,
    );
    const fromServer = openCheckpoint(openSource((await serveFiles(files)).url));
    await expect(fromServer).rejects.toThrow(/http:\/\/127\.0\.0\.1:\d+\/: there is no config\.json/);
    await expect(fromServer).rejects.toThrow(/by its name, org\/name/);
  });

  test('that is a LoRA adapter is called one', async () => {
    const files = {
      'adapter_config.json': jsonBytes({ base_model_name_or_path: 'org/base' }),
      'adapter_model.safetensors': writeSafetensors([{ name: 'x', dtype: 'U8', shape: [1] }]),
    };
    const alone = { 'adapter_model.safetensors': files['adapter_model.safetensors'] };
    const config = { 'config.json': jsonBytes({}) };
    for (const source of [files, { ...files, ...config }, alone, { ...alone, ...config }].map(pageSource)) {
      await expect(openCheckpoint(source)).rejects.toThrow(/this is a LoRA adapter, not a model/);
    }
  });

  test('without weights, or with weights in another format, says so', async () => {
    const files = { 'config.json': jsonBytes({}), 'pytorch_model.bin': new Uint8Array(9) };
    const opening = openCheckpoint(pageSource(files));
    await expect(opening).rejects.toThrow(SourceError);
    await expect(opening).rejects.toThrow(
      /no model\.safetensors and no model\.safetensors\.index\.json.*Found there: config\.json, pytorch_model\.bin/,
    );
  });

  test('with shards but no index is read where all of them are there, and refused where not', async () => {
    const noIndex = { 'model.safetensors.index.json': undefined };
    const { tensors } = await openCheckpoint(pageSource(checkpointFiles(noIndex)));
    expect([...tensors.keys()]).toEqual(['a', 'b', 'c']);
    for (const changes of [
      { 'model-00003-of-00003.safetensors': whole2 },
      { 'other.safetensors': whole2 },
      { [shard2]: undefined, 'model-00002-of-00003.safetensors': whole2 },
    ]) {
      const opening = openCheckpoint(pageSource(checkpointFiles({ ...noIndex, ...changes })));
      await expect(opening).rejects.toThrow(SourceError);
    }
  });

  test('with an index that names tensors which no file has is read without them', async () => {
    const index = JSON.parse(new TextDecoder().decode(writeIndex(shards)));
    index.weight_map['lm_head.weight'] = shard2;
    index.weight_map['mtp.fc.weight'] = `./${shard2}`;
    const files = checkpointFiles({ 'model.safetensors.index.json': jsonBytes(index) });
    const { tensors } = await openCheckpoint(pageSource(files));
    expect([...tensors.keys()]).toEqual(['a', 'b', 'c']);
  });

  test('with an index whose shards are gone, beside a whole file, is read from that', async () => {
    const whole = { 'model.safetensors': writeSafetensors([{ name: 'x', dtype: 'U8', shape: [1] }]) };
    const gone = { 'model-00001-of-00002.safetensors': undefined, [shard2]: undefined };
    const files = checkpointFiles({ ...gone, ...whole });
    for (const source of [await writeFolder(files), openSource((await serveFiles(files)).url)]) {
      expect([...(await openCheckpoint(source)).tensors.keys()]).toEqual(['x']);
    }
  });

  test('a tensor that two shards hold with the same values is one, in the file that the index names', async () => {
    const twice = writeSafetensors([{ name: 'a', dtype: 'BF16', shape: [3, 5] }, ...shards[shard2]!]);
    const [shard1] = Object.keys(shards);
    for (const file of [shard1!, shard2]) {
      const weight_map = { a: file, b: shard1, c: shard2 };
      const files = { [shard2]: twice, 'model.safetensors.index.json': jsonBytes({ weight_map }) };
      const { tensors } = await openCheckpoint(pageSource(checkpointFiles(files)));
      expect([...tensors.values()].map(({ name, file }) => [name, file])).toEqual([
        ['a', file],
        ['b', shard1],
        ['c', shard2],
      ]);
    }
    // Where no index tells, any does.
    const unindexed = { [shard2]: twice, 'model.safetensors.index.json': undefined };
    const { tensors } = await openCheckpoint(pageSource(checkpointFiles(unindexed)));
    expect([...tensors.keys()]).toEqual(['a', 'b', 'c']);
  });

  test('many tensors in two shards are refused before all are compared', async () => {
    const many = Array.from({ length: 65 }, (_, i) => ({ name: `x${i}`, dtype: 'U8', shape: [1] }) as const);
    const files = checkpointFiles({
      'model.safetensors.index.json': undefined,
      'model-00001-of-00002.safetensors': writeSafetensors(many.map((t) => ({ ...t, shape: [1] }))),
      [shard2]: writeSafetensors(many.map((t) => ({ ...t, shape: [1] }))),
    });
    await expect(openCheckpoint(pageSource(files))).rejects.toThrow(/"x64" is in .*, as 64 others are/);
  });

  const cases: [string, Record<string, Uint8Array<ArrayBuffer> | undefined>, RegExp][] = [
    [
      'a missing shard',
      { [shard2]: undefined },
      /^model-00002-of-00002\.safetensors of .*no such file.*index\.json names it/,
    ],
    ['a truncated shard', { [shard2]: whole2.slice(0, -1) }, /^model-00002.*tensor "c".*1 bytes are missing/],
    ['a shard cut in its header', { [shard2]: whole2.slice(0, 40) }, /^model-00002.*truncated/],
    ['a shard cut in its length', { [shard2]: whole2.slice(0, 5) }, /^model-00002.*5 bytes, too few/],
    ['an empty shard', { [shard2]: new Uint8Array(0) }, /^model-00002.*0 bytes, too few/],
    [
      'a tensor of another type in two shards',
      { [shard2]: writeSafetensors([{ name: 'a', dtype: 'U8', shape: [1] }, ...shards[shard2]!]) },
      /tensor "a" is in model-00001-of-00002\.safetensors and in model-00002-of-00002\.safetensors, with other values/,
    ],
    [
      'a tensor of another shape in two shards',
      { [shard2]: writeSafetensors([{ name: 'a', dtype: 'BF16', shape: [5, 3] }, ...shards[shard2]!]) },
      /tensor "a" is in .*, with other values/,
    ],
    [
      'a tensor of other values in two shards',
      {
        [shard2]: writeSafetensors([
          {
            name: 'a',
            dtype: 'BF16',
            shape: [3, 5],
            data: Uint16Array.from({ length: 15 }, (_, i) => +(i === 14)),
          },
          ...shards[shard2]!,
        ]),
      },
      /tensor "a" is in model-00001-of-00002\.safetensors and in model-00002-of-00002\.safetensors/,
    ],
    [
      'a tensor in another shard than the index says',
      {
        [shard2]: writeSafetensors([...shards[shard2]!, { name: 'd', dtype: 'U8', shape: [1] }]),
        'model.safetensors.index.json': jsonBytes({
          weight_map: {
            a: 'model-00001-of-00002.safetensors',
            c: shard2,
            d: 'model-00001-of-00002.safetensors',
          },
        }),
      },
      /tensor "d" should be in model-00001-of-00002\.safetensors, and is in model-00002-of-00002\.safetensors/,
    ],
    [
      'an index that leaves the folder',
      { 'model.safetensors.index.json': jsonBytes({ weight_map: { z: '../secret.safetensors' } }) },
      /^model\.safetensors\.index\.json of .*tensor "z" is said to be in "\.\.\/secret/,
    ],
    [
      'a config that is not JSON',
      { 'config.json': new TextEncoder().encode('{"a": 1,}') },
      /^config\.json of .*not valid JSON/,
    ],
    [
      'a config with NaN',
      { 'config.json': new TextEncoder().encode('{"eps": -Infinity}') },
      /Python writes NaN and Infinity/,
    ],
    [
      'a config that is a list',
      { 'config.json': jsonBytes([]) },
      /^config\.json of .*holds an array, wanted a JSON object/,
    ],
    [
      'a bad generation config',
      { 'generation_config.json': jsonBytes(null) },
      /^generation_config\.json of .*holds null/,
    ],
  ];
  test.each(cases)('%s is one typed error', async (_, changes, message) => {
    const files = checkpointFiles(changes);
    const server = await serveFiles(files);
    const unranged = await serveFiles(files, { ranges: false });
    for (const source of [
      await writeFolder(files),
      pageSource(files),
      openSource(server.url),
      openSource(unranged.url),
    ]) {
      const opening = openCheckpoint(source);
      await expect(opening).rejects.toThrow(CorruptCheckpointError);
      await expect(opening).rejects.toThrow(message);
    }
  });

  test('a shard whose server hides its truncation is found when its weights are read', async () => {
    const tensors: TensorToWrite[] = [{ name: 'x', dtype: 'U8', shape: [200_000] }];
    const files = {
      'config.json': jsonBytes({}),
      'model.safetensors': writeSafetensors(tensors).slice(0, -1),
    };
    const { source, tensors: found } = await openCheckpoint(
      openSource((await serveFiles(files, { ranges: false })).url),
    );
    const reading = async () => {
      for await (const _ of streamTensors(source, found.values()));
    };
    await expect(reading()).rejects.toThrow(CorruptCheckpointError);
  });

  test('a forbidden shard is a SourceError', async () => {
    const server = await serveFiles(checkpointFiles(), {
      answer: ({ name }, response) => {
        if (name === shard2) response.writeHead(403).end();
        return name === shard2;
      },
    });
    await expect(openCheckpoint(openSource(server.url))).rejects.toThrow(
      /model-00002-of-00002\.safetensors: the server answered 403/,
    );
  });
});

test('other JSON files of a checkpoint are read by name', async () => {
  const source = pageSource(checkpointFiles({ 'tokenizer_config.json': jsonBytes({ add_bos_token: true }) }));
  expect(await readJson(source, 'tokenizer_config.json')).toEqual({ add_bos_token: true });
  expect(await readJson(source, 'nothing.json')).toBeUndefined();
});

test('whatever headers and index say, a checkpoint opens or is refused with a CorruptCheckpointError', async () => {
  const name = fc.constantFrom('a', 'b', 'c', '__proto__', 'z');
  const file = fc.oneof(fc.constantFrom(...Object.keys(shards), '..', 'x/y', 'config.json'), fc.jsonValue());
  const weightMap = fc.oneof(fc.dictionary(name, file), fc.jsonValue());
  const changes = fc.record({
    index: fc.oneof(
      { weight: 3, arbitrary: fc.record({ weight_map: weightMap }) },
      { weight: 1, arbitrary: fc.jsonValue() },
    ),
    isIndexChanged: fc.boolean(),
    header: fc.oneof(
      fc.constant({}),
      fc.dictionary(
        name,
        fc.oneof(fc.constant({ dtype: 'U8', shape: [0], data_offsets: [0, 0] }), fc.jsonValue()),
      ),
    ),
    cut: fc.nat(20),
  });
  let numOpened = 0;
  await fc.assert(
    fc.asyncProperty(changes, async ({ index, isIndexChanged, header, cut }) => {
      const [first] = Object.keys(shards) as [string];
      const shard = writeSafetensors(shards[first]!, {
        header: (honest: Header) => ({ ...honest, ...header }),
      });
      const files = checkpointFiles({ [first]: shard.slice(0, shard.length - Math.max(0, cut - 10)) });
      if (isIndexChanged) files['model.safetensors.index.json'] = jsonBytes(index);
      try {
        await openCheckpoint(pageSource(files));
        numOpened += 1;
      } catch (error) {
        expect(error).toBeInstanceOf(CorruptCheckpointError);
      }
    }),
    { numRuns: numCases(200) },
  );
  expect(numOpened).toBeGreaterThan(0);
});
