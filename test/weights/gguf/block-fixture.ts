/** @file Rows of every block type of GGUF with the values that gguf-py makes of them (test/fixtures/gguf-blocks.json). */
import { concatenate } from '../../../src/sources/source.ts';
import { type BlockFormat, blockFormats, packSection } from '../../../src/weights/gguf/blocks.ts';
import type { BlockType } from '../../../src/weights/gguf/types.ts';
import fixture from '../../fixtures/gguf-blocks.json';

const COLS = 512;

interface Fixture {
  types: {
    type: string;
    rows: { kind: string; blocks: string; values: [offset: number, count: number] }[];
  }[];
  /** base64 of float32. */
  values: string;
}

const bytesOf = (base64: string): Uint8Array<ArrayBuffer> =>
  Uint8Array.from(atob(base64), (char) => char.charCodeAt(0));

export interface BlockRows {
  readonly type: BlockType;
  readonly format: BlockFormat;
  readonly rows: number;
  readonly cols: number;
  readonly sections: Readonly<Record<string, Uint8Array<ArrayBuffer>>>;
  readonly values: Float32Array;
}

export function readBlockRows(): BlockRows[] {
  const { types, values: allValues } = fixture as unknown as Fixture;
  const values = new Float32Array(bytesOf(allValues).buffer);
  return types.flatMap(({ type, rows }): BlockRows[] => {
    const format = blockFormats[type as BlockType];
    if (!format) return [];
    const bytes = concatenate(rows.map(({ blocks }) => bytesOf(blocks)));
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
