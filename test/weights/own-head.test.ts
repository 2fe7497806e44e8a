/** A head that is there counts, also where the config ties it to the embedding; one that is the embedding again does not. */
import { expect, it } from 'vitest';
import { openSource } from '../../src/sources/open-source.ts';
import { openCheckpoint } from '../../src/weights/checkpoint.ts';
import { hasOwnHead } from '../../src/weights/own-head.ts';
import { jsonBytes, type TensorToWrite, writeSafetensors } from './safetensors-writer.ts';

const ROWS = 700;
const COLS = 64;
const values = Uint16Array.from({ length: ROWS * COLS }, (_, i) => (i * 2654435761) >>> 16);
const matrix = (name: string, data: Uint16Array, dtype: 'BF16' | 'F16' = 'BF16'): TensorToWrite => ({
  name,
  dtype,
  shape: [data.length / COLS, COLS],
  data,
});
const changedAt = (at: number): Uint16Array => values.map((value, i) => (i === at ? value ^ 1 : value));
const embedding = matrix('model.embed_tokens.weight', values);

it.each<[string, TensorToWrite[], boolean]>([
  ['no head', [embedding], false],
  ['no embedding', [matrix('lm_head.weight', values)], false],
  ['the embedding again', [embedding, matrix('lm_head.weight', values)], false],
  ['another first value', [matrix('lm_head.weight', changedAt(0)), embedding], true],
  ['another value in the middle', [embedding, matrix('lm_head.weight', changedAt((ROWS * COLS) / 2))], true],
  ['another last value', [embedding, matrix('lm_head.weight', changedAt(ROWS * COLS - 1))], true],
  ['another type', [embedding, matrix('lm_head.weight', values, 'F16')], true],
  ['other rows', [embedding, matrix('lm_head.weight', values.subarray(0, 64))], true],
  [
    'a few values that are the same',
    [
      matrix('model.embed_tokens.weight', values.subarray(0, 64)),
      matrix('lm_head.weight', values.subarray(0, 64)),
    ],
    false,
  ],
])('%s', async (_, tensors, isOwn) => {
  const files = { 'config.json': jsonBytes({}), 'model.safetensors': writeSafetensors(tensors) };
  const source = openSource(Object.entries(files).map(([name, bytes]) => new File([bytes], name)));
  expect(await hasOwnHead(await openCheckpoint(source))).toBe(isOwn);
});
