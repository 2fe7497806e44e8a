/** @file What stands in the buffers of uploaded weights, and which row of which tensor each of their rows is. */
import { expect } from 'vitest';
import { type BufferPool, readBuffer } from '../../src/gpu/buffers.ts';
import { splitRows } from '../../src/gpu/kernel.ts';
import type { Weight } from '../../src/graph/weight.ts';
import type { GpuWeights } from '../../src/weights/upload.ts';

/** Which row of which tensor each row of a weight is: names in groups of `interleave`, whose rows take turns. */
export function rowOrder({ names, rowsOf, interleave }: Weight): [name: string, row: number][] {
  const order: [string, number][] = [];
  for (let group = 0; group < names.length; group += interleave) {
    for (let row = 0; row < rowsOf[group]!; row++) {
      for (let turn = 0; turn < interleave; turn++) order.push([names[group + turn]!, row]);
    }
  }
  expect(order.length).toBe(weightRows(rowsOf));
  return order;
}

const weightRows = (rowsOf: readonly number[]): number => rowsOf.reduce((sum, rows) => sum + rows, 0);

/** A section of all parts of a weight, one after another. */
export async function readSection(
  buffers: BufferPool,
  weights: GpuWeights,
  weight: Weight,
  section: string,
  maxBindingBytes: number,
): Promise<Uint8Array> {
  const rowBytes = weight.format.sections.find(({ name }) => name === section)!.rowBytes(weight.cols);
  const all = new Uint8Array(weight.rows * rowBytes);
  for (const part of splitRows(weight, maxBindingBytes)) {
    const bytes = await readBuffer(buffers, weights.buffer(weight, section, part));
    expect(bytes.byteLength).toBe(part.rows * rowBytes);
    all.set(new Uint8Array(bytes), part.begin * rowBytes);
  }
  return all;
}
