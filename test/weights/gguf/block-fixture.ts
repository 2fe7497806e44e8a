/** @file Rows of every block type of GGUF with the values that gguf-py makes of them (test/fixtures/gguf-blocks). */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type BlockFormat, blockFormats, packSection } from '../../../src/weights/gguf/blocks.ts';
import type { BlockType } from '../../../src/weights/gguf/types.ts';

const FOLDER = join(import.meta.dirname, '../../fixtures/gguf-blocks');
const COLS = 512;

interface Fixture {
  types: {
    type: string;
    rows: { kind: string; blocks: string; values: [offset: number, count: number] }[];
  }[];
}

export interface BlockRows {
  readonly type: BlockType;
  readonly format: BlockFormat;
  readonly rows: number;
  readonly cols: number;
  readonly sections: Readonly<Record<string, Uint8Array<ArrayBuffer>>>;
  readonly values: Float32Array;
}

export function readBlockRows(): BlockRows[] {
  const { types } = JSON.parse(readFileSync(join(FOLDER, 'quants.json'), 'utf8')) as Fixture;
  const values = new Float32Array(new Uint8Array(readFileSync(join(FOLDER, 'values.f32.bin'))).buffer);
  return types.flatMap(({ type, rows }): BlockRows[] => {
    const format = blockFormats[type as BlockType];
    if (!format) return [];
    const bytes = new Uint8Array(Buffer.concat(rows.map(({ blocks }) => Buffer.from(blocks, 'base64'))));
    const sections = format.blockSections.map((section, i) => {
      const rowBytes = format.sections[i]!.rowBytes(COLS);
      return [section.name, packSection(section, bytes, rows.length, COLS / format.storedValues, rowBytes)];
    });
    const wanted = rows.flatMap(({ values: [offset, count] }) => [
      ...values.subarray(offset / 4, offset / 4 + count),
    ]);
    return [
      {
        type: type as BlockType,
        format,
        rows: rows.length,
        cols: COLS,
        sections: Object.fromEntries(sections),
        values: Float32Array.from(wanted),
      },
    ];
  });
}
