import { describe, expect, test } from 'vitest';
import { ShaderloomError } from '../../../src/errors.ts';
import { MoreBytesNeeded, parseHeader } from '../../../src/weights/gguf/container.ts';
import { type FileToWrite, type TensorToWrite, text, u32, type Value, writeGguf } from './writer.ts';

const read = (bytes: Uint8Array, size: number | undefined = bytes.length) =>
  parseHeader(bytes, size, 'model.gguf of here');

const row = (name: string, more: Partial<TensorToWrite> = {}): TensorToWrite => ({
  name,
  dims: [32],
  type: 0,
  bytes: new Uint8Array(128),
  ...more,
});

const raw = (id: number, ...bytes: number[]): Value => ({ type: 'raw', id, bytes: Uint8Array.from(bytes) });
const u64 = (value: bigint): number[] => [...new Uint8Array(BigUint64Array.of(value).buffer)];

describe('a header', () => {
  const file: FileToWrite = {
    keys: [
      ['a', u32(7)],
      ['b', text('\ufeffx')],
      ['c', { type: 'strings', value: ['', 'Ġa', '漢'] }],
      ['d', { type: 'i32s', value: [-1, 5] }],
      ['e', { type: 'bool', value: true }],
      ['f', { type: 'u64', value: 2 ** 40 }],
    ],
    tensors: [row('x'), row('y', { dims: [64, 3], type: 8, bytes: new Uint8Array(204) })],
  };

  test('gives metadata, and tensors with their outermost dimension first', () => {
    const bytes = writeGguf(file);
    const { metadata, tensors } = read(bytes);
    expect(Object.fromEntries(metadata)).toEqual({
      a: 7,
      b: '\ufeffx',
      c: ['', 'Ġa', '漢'],
      d: [-1, 5],
      e: true,
      f: 2 ** 40,
    });
    const begin = bytes.length - 204 - 128;
    expect(tensors).toEqual([
      { name: 'x', dtype: 'F32', shape: [32], begin, end: begin + 128 },
      { name: 'y', dtype: 'Q8_0', shape: [3, 64], begin: begin + 128, end: begin + 332 },
    ]);
  });

  test('asks for more bytes wherever it is cut off, and says so where the file ends there', () => {
    const bytes = writeGguf(file);
    const headerEnd = bytes.length - 332 - 32;
    for (let cut = 4; cut < headerEnd; cut++) {
      expect(() => read(bytes.subarray(0, cut), bytes.length), `${cut} bytes`).toThrow(MoreBytesNeeded);
      expect(() => read(bytes.subarray(0, cut)), `${cut} bytes`).toThrow(/truncated|bytes left/);
    }
  });

  test('may say where tensors begin', () => {
    const keys = [['general.alignment', u32(64)]] as const;
    const bytes = writeGguf({ keys, tensors: [row('x')], alignment: 64 });
    expect(read(bytes).tensors[0]).toMatchObject({ begin: bytes.length - 128 });
  });
});

const keys = (...list: (readonly [string, Value])[]): FileToWrite => ({ keys: list });
const tensors = (...list: TensorToWrite[]): FileToWrite => ({ tensors: list });

test.each<[what: string, file: FileToWrite, says: RegExp]>([
  ['another file', { magic: 'PK\x03\x04' }, /not a GGUF file.*PK/],
  ['a web page', { magic: '<!DO' }, /web page.*<!DO/],
  ['a Git LFS pointer', { magic: 'version https://git-lfs' }, /Git LFS pointer/],
  ['version 1', { version: 1 }, /version 1; versions 2 and 3/],
  ['version 4', { version: 4 }, /version 4/],
  ['a big-endian file', { version: 0x03000000 }, /big-endian/],
  ['more tensors than bytes', { counts: { tensors: 2n ** 63n } }, /922337\d+ tensors.*bytes left/],
  ['more keys than bytes', { counts: { keys: 2n ** 40n } }, /keys.*bytes left/],
  ['a longer text than the file', keys(['a', raw(8, ...u64(2n ** 62n))]), /bytes of text.*bytes left/],
  ['an unknown type of a value', keys(['a', raw(13, 0)]), /type 13/],
  ['an array of arrays', keys(['a', raw(9, 9, 0, 0, 0, ...u64(0n))]), /array of arrays/],
  ['an array of an unknown type', keys(['a', raw(9, 77, 0, 0, 0, ...u64(0n))]), /type 77/],
  [
    'a longer array than the file',
    keys(['a', raw(9, 4, 0, 0, 0, ...u64(2n ** 61n))]),
    /values of an array.*left/,
  ],
  ['a key twice', keys(['a', u32(1)], ['a', u32(1)]), /"a" twice/],
  ['text that is no UTF-8', keys(['a', raw(8, ...u64(1n), 0xff)]), /no UTF-8/],
  ['alignment 0', keys(['general.alignment', u32(0)]), /general\.alignment is 0.*power of two/],
  ['alignment 48', keys(['general.alignment', u32(48)]), /general\.alignment is 48/],
  ['alignment of another type', keys(['general.alignment', text('32')]), /general\.alignment is of type 8/],
  ['no dimensions', tensors(row('x', { dims: [] })), /0 dimensions/],
  ['five dimensions', tensors(row('x', { dims: [1, 1, 1, 1, 1] })), /5 dimensions/],
  ['too many values', tensors(row('x', { dims: [2 ** 40, 2 ** 20] })), /"x".*more values than any file/],
  [
    'rows of half a block',
    tensors(row('x', { dims: [48, 2], type: 12 })),
    /"x" \[2,48\] is of type Q4_K.*blocks of 256/,
  ],
  ['a type that is not read', tensors(row('x', { type: 16 })), /"x".*IQ2_XXS \(16\).*Q4_K/],
  ['a type that is not known', tensors(row('x', { type: 99 })), /"x".*99, which is not known/],
  ['a tensor twice', tensors(row('x'), row('x')), /"x" twice/],
  ['a tensor at an odd place', tensors(row('x', { offset: 16 })), /"x".*begins at 16.*multiple of 32/],
  ['tensors that overlap', tensors(row('x'), row('y', { offset: 64 })), /"x" and "y" overlap/],
  ['a tensor behind the end', tensors(row('x', { dims: [64] })), /"x".*truncated/],
])('%s is an error that says so', (_, file, says) => {
  const bytes = writeGguf(file);
  expect(() => read(bytes)).toThrow(ShaderloomError);
  expect(() => read(bytes)).toThrow(says);
  expect(() => read(bytes)).toThrow(/model\.gguf of here/);
});
