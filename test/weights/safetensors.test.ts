import { readdirSync, readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { CorruptCheckpointError } from '../../src/errors.ts';
import {
  DTYPE_BYTES,
  parseHeader,
  parseIndex,
  readHeaderLength,
  type SafetensorsDtype,
  type StoredTensor,
} from '../../src/weights/safetensors.ts';
import { numCases } from '../num-cases.ts';
import {
  type Header,
  jsonBytes,
  type Lies,
  type TensorToWrite,
  wholeBytes,
  writeSafetensors,
} from './safetensors-writer.ts';

const goldens = new URL('../fixtures/goldens/', import.meta.url);

function parseFile(file: Uint8Array, size: number | undefined = file.length): StoredTensor[] {
  const end = 8 + readHeaderLength(file, size, 'model.safetensors');
  return parseHeader(file.subarray(8, end), size, 'model.safetensors');
}

describe('files that are as they should be', () => {
  test.each(['qwen2', 'qwen3-dense', 'qwen3-dense-untied-yarn'])(
    'every tensor of the %s checkpoint is found',
    (name) => {
      for (const file of readdirSync(new URL(name, goldens)).filter((file) =>
        file.endsWith('.safetensors'),
      )) {
        const bytes = readFileSync(new URL(`${name}/${file}`, goldens));
        const tensors = parseFile(bytes);
        expect(tensors.length).toBeGreaterThan(0);
        expect(tensors.at(-1)?.end).toBe(bytes.length);
      }
    },
  );

  test('every dtype of the format, empty tensors, scalars and any name come back as written', () => {
    const tensors: TensorToWrite[] = Object.keys(DTYPE_BYTES).map((dtype, index) => ({
      name: `tensor ${dtype}`,
      dtype: dtype as SafetensorsDtype,
      shape: wholeBytes(dtype as SafetensorsDtype, [index, 3]),
    }));
    tensors.push({ name: 'scalar', dtype: 'F32', shape: [] });
    for (const name of ['toString', 'constructor', '', 'ß\u0000\n"'])
      tensors.push({ name, dtype: 'U8', shape: [1] });
    const parsed = parseFile(writeSafetensors(tensors));
    const byName = new Map(parsed.map((tensor) => [tensor.name, tensor]));
    expect(byName.size).toBe(tensors.length);
    for (const { name, dtype, shape } of tensors)
      expect(byName.get(name)).toMatchObject({ name, dtype, shape });
  });

  test('a tensor named __proto__ is a tensor like any other', () => {
    const headerText = '{"__proto__":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}}';
    const [tensor] = parseFile(writeSafetensors([{ name: 'x', dtype: 'U8', shape: [2] }], { headerText }));
    expect(tensor).toMatchObject({ name: '__proto__', shape: [2] });
  });

  test('the order of keys in the header does not matter, tensors come in the order of their bytes', () => {
    const tensors: TensorToWrite[] = ['a', 'b', 'c'].map((name) => ({ name, dtype: 'F16', shape: [5] }));
    const header = (header: Header) => Object.fromEntries(Object.entries(header).reverse());
    expect(parseFile(writeSafetensors(tensors, { header })).map(({ name }) => name)).toEqual(['a', 'b', 'c']);
  });

  test('spaces may pad the header', () => {
    const headerText = `${JSON.stringify({ x: { dtype: 'U8', shape: [1], data_offsets: [0, 1] } })}     `;
    expect(
      parseFile(writeSafetensors([{ name: 'x', dtype: 'U8', shape: [1] }], { headerText })),
    ).toHaveLength(1);
  });

  test('a file of unknown size is taken as far as its header tells', () => {
    const file = writeSafetensors([{ name: 'x', dtype: 'U8', shape: [100] }]);
    const tensors = parseHeader(file.subarray(8, file.length - 100), undefined, 'model.safetensors');
    expect(tensors[0]?.end).toBe(file.length);
  });
});

describe('every lie of a header is an error that names file and tensor', () => {
  const honest: TensorToWrite[] = [
    { name: 'a', dtype: 'F32', shape: [2, 3] },
    { name: 'b', dtype: 'BF16', shape: [4] },
  ];
  const change = (name: string, changes: Record<string, unknown>): Lies => ({
    header: (header) => ({ ...header, [name]: { ...(header[name] as object), ...changes } }),
  });
  const cases: [string, Lies, RegExp][] = [
    [
      'a header longer than the file',
      { headerLength: 10_000 },
      /header should be 10000 bytes long.*truncated/,
    ],
    ['a header longer than any checkpoint has', { headerLength: 2 ** 24 + 1 }, /header of 16777217 bytes/],
    ['a header length of 2^64 - 1', { headerLength: 2n ** 64n - 1n }, /header of 18446744073709551615 bytes/],
    ['an empty header', { headerLength: 0 }, /does not begin with "\{"/],
    ['a header that ends early', { headerLength: 20 }, /not valid JSON/],
    ['a header that is an array', { headerText: '[]' }, /does not begin with "\{"/],
    ['a header with a key twice', { headerText: '{"a":{},"a":{}}' }, /key "a" comes twice/],
    ['a key twice, once escaped', { headerText: '{"a":{},"\\u0061":{}}' }, /key "a" comes twice/],
    ['a field twice', { headerText: '{"a":{"dtype":"U8","dtype":"I8"}}' }, /key "dtype" comes twice/],
    ['a tensor that is a number', { headerText: '{"a":1}' }, /tensor "a" is declared as 1/],
    ['a tensor that is null', { headerText: '{"a":null}' }, /tensor "a" is declared as null/],
    ['no fields', { headerText: '{"a":{}}' }, /tensor "a" has dtype nothing, wanted one of F64/],
    ['an unknown dtype', change('b', { dtype: 'F5' }), /tensor "b" has dtype "F5", wanted one of F64/],
    [
      'a part of a byte',
      change('b', { dtype: 'F4', shape: [3] }),
      /tensor "b" has shape \[3\], which is no whole/,
    ],
    [
      'a dtype that is an inherited name',
      change('b', { dtype: 'toString' }),
      /tensor "b" has dtype "toString"/,
    ],
    ['a negative extent', change('a', { shape: [-2, -3] }), /tensor "a" has shape \[-2,-3\]/],
    ['a fractional extent', change('a', { shape: [1.5, 4] }), /tensor "a" has shape \[1.5,4\]/],
    ['an extent that is text', change('a', { shape: ['2', 3] }), /tensor "a" has shape \["2",3\]/],
    ['a shape that is a number', change('a', { shape: 6 }), /tensor "a" has shape 6/],
    [
      'a shape beyond 2^53',
      change('a', { shape: [2 ** 30, 2 ** 30] }),
      /no whole number of bytes of F32 below 2\^53/,
    ],
    [
      'a shape that overflows to zero',
      change('a', { shape: [2 ** 52, 2 ** 52, 0] }),
      /no whole number of bytes/,
    ],
    [
      'a shape of other size',
      change('a', { shape: [2, 4] }),
      /tensor "a" has 24 bytes by its data_offsets, and 32/,
    ],
    [
      'a dtype of other size',
      change('b', { dtype: 'F32' }),
      /tensor "b" has 8 bytes by its data_offsets, and 16/,
    ],
    ['negative offsets', change('a', { data_offsets: [-24, 0] }), /tensor "a" has data_offsets \[-24,0\]/],
    ['swapped offsets', change('a', { data_offsets: [24, 0] }), /tensor "a" has data_offsets \[24,0\]/],
    ['fractional offsets', change('a', { data_offsets: [0.5, 24.5] }), /tensor "a" has data_offsets/],
    ['three offsets', change('a', { data_offsets: [0, 24, 24] }), /tensor "a" has data_offsets/],
    [
      'huge offsets',
      change('a', { data_offsets: [2 ** 53 - 25, 2 ** 53 - 1] }),
      /tensor "a" ends at.*beyond 2\^53/,
    ],
    [
      'overlapping tensors',
      change('b', { data_offsets: [20, 28] }),
      /tensor "b" begins .* overlaps tensor "a"/,
    ],
    [
      'a gap between tensors',
      change('b', { data_offsets: [28, 36] }),
      /tensor "b" begins .* leaves a gap after tensor "a"/,
    ],
    [
      'a gap after the header',
      { header: ({ b }) => ({ b }) },
      /tensor "b" begins .* leaves a gap after the header/,
    ],
    [
      'bytes of no tensor',
      { header: ({ a }) => ({ a }) },
      /tensor "a" should be its end .*: 8 bytes belong to no tensor/,
    ],
  ];
  test.each(cases)('%s', (_, lies, message) => {
    const parse = () => parseFile(writeSafetensors(honest, lies));
    expect(parse).toThrow(CorruptCheckpointError);
    expect(parse).toThrow(/^model\.safetensors: /);
    expect(parse).toThrow(message);
  });

  test('a truncated file', () => {
    const file = writeSafetensors(honest);
    expect(() => parseFile(file.subarray(0, file.length - 3))).toThrow(
      /tensor "b" should be its end .*: 3 bytes are missing/,
    );
    expect(() => parseFile(file.subarray(0, 50))).toThrow(/truncated/);
    expect(() => parseFile(file.subarray(0, 7))).toThrow(/7 bytes, too few/);
  });

  test('a header that is not UTF-8', () => {
    const file = writeSafetensors(honest);
    file[20] = 0xff;
    expect(() => parseFile(file)).toThrow(/not UTF-8/);
  });

  test('a shape nested a hundred thousand deep', () => {
    const deep = '['.repeat(100_000) + ']'.repeat(100_000);
    const headerText = `{"a":{"dtype":"U8","shape":${deep},"data_offsets":[0,1]}}`;
    expect(() => parseFile(writeSafetensors([], { headerText }))).toThrow(/nested too deeply/);
  });

  test.each([
    ['version https://git-lfs.github.com/spec/v1\noid sha256:00', /Git LFS pointer.*git lfs pull/],
    ['<!DOCTYPE html><html></html>', /HTML or XML page/],
  ])('a file that is something else: %j', (text, message) => {
    expect(() => parseFile(new TextEncoder().encode(text))).toThrow(message);
  });
});

describe('an index', () => {
  test('tells the file of each tensor', () => {
    const index = { metadata: {}, weight_map: { a: 'x.safetensors', b: 'sub/y.safetensors' } };
    expect([...parseIndex(jsonBytes(index), 'index')]).toEqual([
      ['a', 'x.safetensors'],
      ['b', 'sub/y.safetensors'],
    ]);
  });

  test.each([
    ['[]', /holds an array/],
    ['{}', /"weight_map" is nothing/],
    ['{"weight_map":["a"]}', /"weight_map" is \["a"\]/],
    ['{"weight_map":{"a":1}}', /tensor "a" is said to be in 1/],
    ['{"weight_map":{"a":"x","a":"y"}}', /key "a" comes twice/],
    ['{"weight_map":{"a":"../x"}}', /tensor "a" is said to be in "..\/x"/],
    ['{"weight_map":{"a":"sub/../../x"}}', /wanted the name of a file in the same folder/],
    ['{"weight_map":{"a":"/etc/passwd"}}', /wanted the name of a file/],
    ['{"weight_map":{"a":"C:x"}}', /wanted the name of a file/],
    ['{"weight_map":{"a":"https://elsewhere/x"}}', /wanted the name of a file/],
    ['{"weight_map":{"a":"..\\\\x"}}', /wanted the name of a file/],
    ['{"weight_map":{"a":"x\\u0000"}}', /wanted the name of a file/],
    ['{"weight_map":{"a":""}}', /wanted the name of a file/],
    ['{"weight_map":{"a":NaN}}', /NaN and Infinity/],
    ['{"weight_map":', /not valid JSON/],
  ])('that lies is an error: %s', (text, message) => {
    const parse = () => parseIndex(new TextEncoder().encode(text), 'model.safetensors.index.json');
    expect(parse).toThrow(CorruptCheckpointError);
    expect(parse).toThrow(message);
  });
});

describe('whatever is done to a file, it is read correctly or refused with a CorruptCheckpointError', () => {
  const dtypes = Object.keys(DTYPE_BYTES) as SafetensorsDtype[];
  const tensors = fc.uniqueArray(
    fc
      .record({
        name: fc.string({ maxLength: 8 }).filter((name) => name !== '__metadata__' && name !== '__proto__'),
        dtype: fc.constantFrom(...dtypes),
        shape: fc.array(fc.nat(4), { maxLength: 3 }),
      })
      .map(({ name, dtype, shape }) => ({ name, dtype, shape: wholeBytes(dtype, shape) })),
    { selector: ({ name }) => name, maxLength: 6 },
  );

  function checkFile(file: Uint8Array): void {
    let parsed: StoredTensor[];
    try {
      parsed = parseFile(file);
    } catch (error) {
      expect(error).toBeInstanceOf(CorruptCheckpointError);
      expect((error as Error).message.length).toBeLessThan(1000);
      return;
    }
    let end = 8 + readHeaderLength(file, file.length, '');
    for (const tensor of parsed) {
      expect(tensor.begin).toBe(end);
      expect(tensor.end - tensor.begin).toBe(tensor.shape.reduce((a, b) => a * b, DTYPE_BYTES[tensor.dtype]));
      end = tensor.end;
    }
    expect(end).toBe(file.length);
  }

  test('bytes changed, cut off or added', () => {
    const change = fc.record({ at: fc.nat(400), byte: fc.nat(255) });
    fc.assert(
      fc.property(
        tensors,
        fc.array(change, { maxLength: 4 }),
        fc.integer({ min: -40, max: 9 }),
        (tensors, changes, more) => {
          const honest = writeSafetensors(tensors);
          const file = new Uint8Array(Math.max(0, honest.length + more));
          file.set(honest.subarray(0, file.length));
          for (const { at, byte } of changes) if (file.length > 0) file[at % file.length] = byte;
          checkFile(file);
        },
      ),
      { numRuns: numCases(500) },
    );
  });

  test('fields replaced by anything JSON can hold', () => {
    const field = fc.constantFrom('dtype', 'shape', 'data_offsets', 'other');
    const value = fc.oneof(
      fc.jsonValue(),
      fc.constantFrom(...dtypes),
      fc.array(fc.oneof(fc.nat(50), fc.integer(), fc.double()), { maxLength: 3 }),
    );
    fc.assert(
      fc.property(tensors, fc.nat(), field, value, fc.boolean(), (tensors, index, field, value, isWhole) => {
        const name = tensors[index % Math.max(1, tensors.length)]?.name ?? 'none';
        const header = (header: Header) => ({
          ...header,
          [name]: isWhole ? value : { ...(header[name] as object), [field]: value },
        });
        checkFile(writeSafetensors(tensors, { header }));
      }),
      { numRuns: numCases(500) },
    );
  });
});
