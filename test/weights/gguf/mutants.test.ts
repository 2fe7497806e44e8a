/**
 * @file Damaged headers: 2,000 files, each with one or two places changed, and what gguf-py reads of them (test/fixtures/gguf-mutants.json).
 * Whatever loads here has the same metadata and tensors there.
 */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { ShaderloomError } from '../../../src/errors.ts';
import { type GgufHeader, MoreBytesNeeded, parseHeader } from '../../../src/weights/gguf/container.ts';

interface Fixture {
  /** Bytes before the data. */
  header: number;
  base: string;
  /** By seed: the beginning of a hash of what was read, or `-` for an error. */
  results: string;
}

const { header, base, results } = JSON.parse(
  readFileSync(join(import.meta.dirname, '../../fixtures/gguf-mutants.json'), 'utf8'),
) as Fixture;

/** mulberry32, as the fixture was made with it. */
function randomOf(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

const EXTREMES = [0n, 2n ** 64n - 1n, 2n ** 63n, 2n ** 32n, 2n ** 53n, 7n];

function mutant(seed: number): Uint8Array {
  const random = randomOf(seed);
  const below = (n: number): number => Math.floor(random() * n);
  let bytes = new Uint8Array(Buffer.from(base, 'base64'));
  const { length } = bytes;
  const write = (at: number, value: number): void => {
    if (at < bytes.length) bytes[at] = value;
  };
  for (let left = 1 + below(2); left > 0; left--) {
    const kind = below(5);
    if (kind === 0) {
      const at = below(header);
      write(at, bytes[at]! ^ (1 << below(8)));
    } else if (kind === 1) write(below(header), below(256));
    else if (kind === 2) {
      const at = below(header - 8);
      const extreme = new Uint8Array(BigUint64Array.of(EXTREMES[below(6)]!).buffer);
      extreme.forEach((value, i) => {
        write(at + i, value);
      });
    } else if (kind === 3) write(header + below(length - header), below(256));
    else if (random() < 0.3) bytes = bytes.slice(0, below(length));
  }
  return bytes;
}

test('every damaged file is read as gguf-py reads it, or is an error', () => {
  const wanted = results.split(' ');
  let loaded = 0;
  const wrong: string[] = [];
  wanted.forEach((result, seed) => {
    const bytes = mutant(seed);
    let found: GgufHeader;
    try {
      found = parseHeader(bytes, bytes.length, 'a damaged file');
    } catch (error) {
      expect(error, `seed ${seed}`).not.toBeInstanceOf(MoreBytesNeeded);
      expect(error, `seed ${seed}`).toBeInstanceOf(ShaderloomError);
      return;
    }
    loaded++;
    if (digestOf(found) !== result) wrong.push(`seed ${seed}: ${result} by gguf-py`);
  });
  expect(wrong).toEqual([]);
  expect(loaded).toBeGreaterThan(wanted.length / 10);
});

const TYPE_IDS: Readonly<Record<string, number>> = {
  F32: 0,
  F16: 1,
  Q4_0: 2,
  Q4_1: 3,
  Q5_0: 6,
  Q5_1: 7,
  Q8_0: 8,
  BF16: 30,
  IQ4_NL: 20,
  MXFP4: 39,
};

function digestOf({ metadata, tensors }: GgufHeader): string {
  const hex = (text: string): string => Buffer.from(text).toString('hex');
  const show = (value: unknown): string => {
    if (Array.isArray(value)) return `[${value.map(show).join(',')}]`;
    if (typeof value === 'string') return hex(value);
    if (typeof value !== 'number') return String(value);
    const view = new DataView(new ArrayBuffer(8));
    view.setFloat64(0, value);
    return Number.isNaN(value) ? 'nan' : view.getBigUint64(0).toString(16).padStart(16, '0');
  };
  const lines = [...metadata].map(([key, value]) => `${hex(key)}=${show(value)}`);
  for (const { name, shape, dtype, begin, end } of tensors) {
    lines.push(`${hex(name)} ${[...shape].reverse().join(',')} ${TYPE_IDS[dtype]} ${begin} ${end - begin}`);
  }
  return createHash('sha256').update(lines.join('\n')).digest('hex').slice(0, 8);
}
