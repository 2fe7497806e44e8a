import { expect, test } from 'vitest';
import { UnsupportedConfigError } from '../../src/errors.ts';
import { formats } from '../../src/weights/formats.ts';
import { packRows, packScales } from '../../src/weights/pack.ts';

const bytesOf = (data: ArrayBufferView<ArrayBuffer>) => new Uint8Array(data.buffer);

test('whole rows of the stored type pass through untouched', () => {
  const bytes = Uint8Array.from({ length: 64 }, (_, i) => i);
  expect(packRows(formats.fp8, false, 'F8_E4M3', bytes, 2)).toBe(bytes);
  expect(packRows(formats.bf16, false, 'BF16', bytes, 4)).toBe(bytes);
});

test('rows that end within a block are padded with zeros', () => {
  const packed = packRows(
    formats.fp8,
    false,
    'F8_E4M3',
    Uint8Array.from({ length: 36 }, (_, i) => i + 1),
    2,
  );
  expect(packed.length).toBe(64);
  expect([...packed.subarray(16, 20)]).toEqual([17, 18, 0, 0]);
  expect([...packed.subarray(32, 34)]).toEqual([19, 20]);
});

test('float8 has no other format, and no other type becomes float8', () => {
  const bytes = new Uint8Array(16);
  expect(() => packRows(formats.f32, false, 'F8_E4M3', bytes, 1)).toThrow(UnsupportedConfigError);
  expect(() => packRows(formats.fp8, false, 'BF16', bytes, 1)).toThrow(UnsupportedConfigError);
});

test.each([
  ['F32', bytesOf(Float32Array.of(0.5, 2 ** -20, 3, 1))],
  ['BF16', bytesOf(Uint16Array.of(0x3f00, 0x3580, 0x4040, 0x3f80))],
  // 2^-20 is a subnormal float16.
  ['F16', bytesOf(Uint16Array.of(0x3800, 0x0010, 0x4200, 0x3c00))],
] as const)('every row gets the scales of its block of 128, from %s', (dtype, bytes) => {
  const packed = new Float32Array(packScales(dtype, bytes, 200, 16).buffer);
  expect(packed.length).toBe(200 * 4);
  for (let r = 0; r < 200; r++) {
    const wanted = r < 128 ? [0.5, 2 ** -20, 0, 0] : [3, 1, 0, 0];
    expect([...packed.subarray(r * 4, r * 4 + 4)]).toEqual(wanted);
  }
});
