/**
 * Thousands of hostile safetensors headers and indexes: each is read as what it says, or refused with a typed error, within
 * bounded memory, and without a trace in any prototype. (Hostile configs: test/runtime/hostile-configs.long.test.ts.)
 */
import fc from 'fast-check';
import { afterEach, describe, expect, test } from 'vitest';
import { CorruptCheckpointError } from '../../src/errors.ts';
import { isPlainName } from '../../src/sources/source.ts';
import {
  DTYPE_BYTES,
  parseHeader,
  parseIndex,
  readHeaderLength,
  type SafetensorsDtype,
} from '../../src/weights/safetensors.ts';
import { wholeBytes } from './safetensors-writer.ts';

const MAX_HEAP_BYTES = 128 * 2 ** 20;

/** Runs one case; whatever fails must be a CorruptCheckpointError, and its message one that can be shown. */
function attempt<T>(work: () => T): T | undefined {
  try {
    return work();
  } catch (error) {
    if (!(error instanceof CorruptCheckpointError) || error.message.length > 2000) throw error;
    return undefined;
  }
}

afterEach(() => {
  expect(Object.keys(Object.prototype)).toEqual([]);
  expect(({} as Record<string, unknown>).dtype).toBeUndefined();
  expect(({} as Record<string, unknown>).polluted).toBeUndefined();
});

/** Heap that a run takes at most, seen every thousandth case. */
function createHeapWatch() {
  const before = process.memoryUsage().heapUsed;
  let numCases = 0;
  let most = 0;
  return {
    see() {
      numCases += 1;
      if (numCases % 1000 === 0) most = Math.max(most, process.memoryUsage().heapUsed - before);
    },
    expectBounded: () => expect(most).toBeLessThan(MAX_HEAP_BYTES),
  };
}

const dtypes = Object.keys(DTYPE_BYTES) as SafetensorsDtype[];
const name = fc.constantFrom(
  'a',
  'b',
  'c',
  'model.layers.0.mlp',
  '__proto__',
  'constructor',
  'toString',
  '',
  '\u0000',
  '"',
);
const HOSTILE_NUMBERS = [
  -1,
  -0,
  0,
  1,
  2,
  7,
  0.5,
  2 ** 31,
  2 ** 32,
  2 ** 53 - 1,
  2 ** 53,
  2 ** 63,
  1e308,
  Number.MIN_VALUE,
];
const number = fc.constantFrom(...HOSTILE_NUMBERS);
/** Values as JSON text, since JSON can say more than a JavaScript value can hold. */
const value = fc.oneof(
  number.map(String),
  fc.array(number, { maxLength: 4 }).map((values) => `[${values}]`),
  fc.constantFrom(
    'null',
    'true',
    '"F32"',
    '"f32"',
    '""',
    '{}',
    '[]',
    '[[]]',
    '[null]',
    '["1"]',
    '1e999',
    '-1e999',
    '01',
    'NaN',
  ),
  fc.constantFrom(
    '{"__proto__":{"polluted":1}}',
    '{"constructor":{"prototype":{"polluted":1}}}',
    '"\\ud800"',
    '9007199254740993',
  ),
  fc.nat(3).map((power) => '['.repeat(10 ** power) + ']'.repeat(10 ** power)),
  fc.nat(3).map((power) => `${'{"a":'.repeat(10 ** power)}1${'}'.repeat(10 ** power)}`),
);

interface Field {
  key: string;
  value: string;
}
interface Entry {
  name: string;
  fields: Field[];
}

const honestTensor = fc
  .record({
    dtype: fc.constantFrom(...dtypes),
    shape: fc.array(fc.nat(5), { maxLength: 3 }),
  })
  .map(({ dtype, shape }) => ({ dtype, shape: wholeBytes(dtype, shape) }));
const mutation = fc.oneof(
  fc.record({ kind: fc.constant('value' as const), tensor: fc.nat(4), field: fc.nat(3), value }),
  fc.record({ kind: fc.constant('shift' as const), tensor: fc.nat(4), by: fc.integer({ min: -9, max: 9 }) }),
  fc.record({ kind: fc.constant('rename' as const), tensor: fc.nat(4), name }),
  fc.record({ kind: fc.constant('twice' as const), tensor: fc.nat(4) }),
  fc.record({ kind: fc.constant('fieldTwice' as const), tensor: fc.nat(4), field: fc.nat(3), value }),
  fc.record({ kind: fc.constant('whole' as const), tensor: fc.nat(4), value }),
  fc.record({
    kind: fc.constant('text' as const),
    at: fc.nat(300),
    length: fc.nat(5),
    insert: fc.oneof(fc.string({ maxLength: 3 }), value),
  }),
);
type Mutation = typeof mutation extends fc.Arbitrary<infer T> ? T : never;

const textOf = (fields: Field[]) => `{${fields.map(({ key, value }) => `${JSON.stringify(key)}:${value}`)}}`;

/** A header with its lies, and the bytes of data that an honest one would be followed by. */
function writeHeader(
  tensors: { dtype: SafetensorsDtype; shape: number[] }[],
  mutations: readonly Mutation[],
): { text: string; dataBytes: number } {
  let end = 0;
  const entries: Entry[] = tensors.map(({ dtype, shape }, i) => {
    const begin = end;
    end += shape.reduce((a, b) => a * b, DTYPE_BYTES[dtype]);
    return {
      name: `t${i}`,
      fields: [
        { key: 'dtype', value: JSON.stringify(dtype) },
        { key: 'shape', value: JSON.stringify(shape) },
        { key: 'data_offsets', value: `[${begin},${end}]` },
      ],
    };
  });
  const members = entries.map(({ name, fields }) => ({
    name,
    fields,
    text: undefined as string | undefined,
  }));
  for (const one of mutations) {
    if (one.kind === 'text') continue;
    const member = members[one.tensor % Math.max(1, members.length)];
    const field = member && 'field' in one ? member.fields[one.field] : undefined;
    if (!member) continue;
    if (one.kind === 'value' && field) field.value = one.value;
    else if (one.kind === 'fieldTwice' && field) member.fields.push({ key: field.key, value: one.value });
    else if (one.kind === 'rename') member.name = one.name;
    else if (one.kind === 'twice') members.push(member);
    else if (one.kind === 'whole') member.text = one.value;
    else if (one.kind === 'shift') {
      const offsets = member.fields[2]!;
      offsets.value = offsets.value.replace(/-?\d+/g, (n) => String(Number(n) + one.by));
    }
  }
  let text = `{${members.map(({ name, fields, text }) => `${JSON.stringify(name)}:${text ?? textOf(fields)}`)}}`;
  for (const one of mutations) {
    if (one.kind === 'text') text = text.slice(0, one.at) + one.insert + text.slice(one.at + one.length);
  }
  return { text, dataBytes: end };
}

describe('hostile files', () => {
  test('10,000 mutated headers are read as what they say, or refused', () => {
    const heap = createHeapWatch();
    let numRead = 0;
    fc.assert(
      fc.property(
        fc.array(honestTensor, { maxLength: 4 }),
        fc.array(mutation, { maxLength: 3 }),
        fc.option(fc.integer({ min: -9, max: 9 })),
        (tensors, mutations, extraBytes) => {
          heap.see();
          const { text, dataBytes } = writeHeader(tensors, mutations);
          const json = new TextEncoder().encode(text);
          const size = extraBytes === null ? undefined : 8 + json.length + dataBytes + extraBytes;
          const parsed = attempt(() => parseHeader(json, size, 'model.safetensors'));
          if (!parsed) return;
          numRead += 1;
          // What was read is what any JSON parser reads, and the tensors tile the file.
          const truth = JSON.parse(text) as Record<string, { dtype: SafetensorsDtype; shape: number[] }>;
          expect(parsed.map(({ name }) => name).sort()).toEqual(
            Object.keys(truth)
              .filter((name) => name !== '__metadata__')
              .sort(),
          );
          let end = 8 + json.length;
          for (const { name, dtype, shape, begin, end: tensorEnd } of parsed) {
            expect(begin).toBe(end);
            expect(tensorEnd - begin).toBe(shape.reduce((a, b) => a * b, DTYPE_BYTES[dtype]));
            expect({ dtype, shape }).toEqual({ dtype: truth[name]!.dtype, shape: truth[name]!.shape });
            end = tensorEnd;
          }
          if (size !== undefined) expect(end).toBe(size);
        },
      ),
      { numRuns: 10_000 },
    );
    expect(numRead).toBeGreaterThan(300);
    heap.expectBounded();
  });

  test('2,000 headers with flipped bytes are read or refused', () => {
    const flips = fc.array(fc.record({ at: fc.nat(400), byte: fc.nat(255) }), { minLength: 1, maxLength: 6 });
    fc.assert(
      fc.property(fc.array(honestTensor, { minLength: 1, maxLength: 4 }), flips, (tensors, flips) => {
        const { text, dataBytes } = writeHeader(tensors, []);
        const json = new TextEncoder().encode(text);
        for (const { at, byte } of flips) json[at % json.length] = byte;
        attempt(() => parseHeader(json, 8 + json.length + dataBytes, 'model.safetensors'));
      }),
      { numRuns: 2000 },
    );
  });

  test('2,000 header lengths are within the file and the bound, or refused', () => {
    const length = fc.oneof(
      fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
      fc.bigInt({ min: 0n, max: 2n ** 26n }),
    );
    fc.assert(
      fc.property(length, fc.option(fc.nat(2 ** 27)), fc.nat(20), (length, size, numBytes) => {
        const start = new Uint8Array(8);
        new DataView(start.buffer).setBigUint64(0, length, true);
        const bytes = start.subarray(0, numBytes);
        const read = attempt(() => readHeaderLength(bytes, size ?? undefined, 'model.safetensors'));
        if (read === undefined) return;
        expect(BigInt(read)).toBe(length);
        expect(read).toBeLessThanOrEqual(16 * 2 ** 20);
        if (size !== null) expect(8 + read).toBeLessThanOrEqual(size);
      }),
      { numRuns: 2000 },
    );
  });

  test('5,000 mutated indexes name files of their own folder, or are refused', () => {
    const heap = createHeapWatch();
    const file = fc.oneof(
      fc
        .constantFrom(
          'x.safetensors',
          'y.safetensors',
          'sub/z',
          '..',
          '../x',
          '/x',
          'C:x',
          'a\\b',
          '',
          '.',
          'a//b',
        )
        .map((f) => JSON.stringify(f)),
      fc.string({ maxLength: 6 }).map((f) => JSON.stringify(f)),
      value,
    );
    const map = fc
      .array(fc.tuple(name, file), { maxLength: 5 })
      .map((pairs) => `{${pairs.map(([name, file]) => `${JSON.stringify(name)}:${file}`)}}`);
    const index = fc.oneof(
      { weight: 5, arbitrary: map.map((map) => `{"metadata":{},"weight_map":${map}}`) },
      { weight: 1, arbitrary: fc.tuple(map, map).map(([a, b]) => `{"weight_map":${a},"weight_map":${b}}`) },
      { weight: 1, arbitrary: value.map((value) => `{"weight_map":${value}}`) },
      { weight: 1, arbitrary: value },
    );
    let numRead = 0;
    fc.assert(
      fc.property(index, (text) => {
        heap.see();
        const files = attempt(() => parseIndex(new TextEncoder().encode(text), 'index'));
        if (!files) return;
        numRead += 1;
        const { weight_map: truth } = JSON.parse(text) as { weight_map: Record<string, string> };
        expect([...files.keys()].sort()).toEqual(Object.keys(truth).sort());
        for (const [name, file] of files) {
          expect(isPlainName(file)).toBe(true);
          expect(file).toBe(Object.entries(truth).find(([key]) => key === name)?.[1]);
        }
      }),
      { numRuns: 5000 },
    );
    expect(numRead).toBeGreaterThan(200);
    heap.expectBounded();
  });

  test('a header of a million brackets, or of a shape with a million extents, is refused or read at once', () => {
    const deep = `{"a":${'['.repeat(1e6)}${']'.repeat(1e6)}}`;
    const wide = `{"a":{"dtype":"U8","shape":[${'1,'.repeat(1e6)}1],"data_offsets":[0,1]}}`;
    const unclosed = '{"a":'.repeat(1e6);
    for (const text of [deep, wide, unclosed]) {
      attempt(() => parseHeader(new TextEncoder().encode(text), undefined, 'model.safetensors'));
      attempt(() => parseIndex(new TextEncoder().encode(text), 'index'));
    }
  });
});
