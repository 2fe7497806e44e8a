/**
 * @file The block types of GGUF as weight formats: what a file's blocks become on the GPU, where every section is aligned, and the WGSL that
 * reads it. Values stay exactly those of the type. It must not know tensors or models.
 * Source: ggml, the block_* structures and dequantize_row_*; sections are described in kernels/weights/blocks.
 */
import load from '../../../kernels/weights/blocks/load.wgsl?raw';
import numbers2 from '../../../kernels/weights/blocks/numbers-2.wgsl?raw';
import numbers3 from '../../../kernels/weights/blocks/numbers-3.wgsl?raw';
import numbers4 from '../../../kernels/weights/blocks/numbers-4.wgsl?raw';
import numbers5 from '../../../kernels/weights/blocks/numbers-5.wgsl?raw';
import numbers6 from '../../../kernels/weights/blocks/numbers-6.wgsl?raw';
import numbers8 from '../../../kernels/weights/blocks/numbers-8.wgsl?raw';
import scalesExponent from '../../../kernels/weights/blocks/scales-exponent.wgsl?raw';
import scalesHalf from '../../../kernels/weights/blocks/scales-half.wgsl?raw';
import scalesIq4 from '../../../kernels/weights/blocks/scales-iq4.wgsl?raw';
import scalesK2 from '../../../kernels/weights/blocks/scales-k2.wgsl?raw';
import scalesK3 from '../../../kernels/weights/blocks/scales-k3.wgsl?raw';
import scalesK4 from '../../../kernels/weights/blocks/scales-k4.wgsl?raw';
import scalesK6 from '../../../kernels/weights/blocks/scales-k6.wgsl?raw';
import scalesPair from '../../../kernels/weights/blocks/scales-pair.wgsl?raw';
import valuesMinus from '../../../kernels/weights/blocks/values-minus.wgsl?raw';
import valuesPlus from '../../../kernels/weights/blocks/values-plus.wgsl?raw';
import valuesSigned from '../../../kernels/weights/blocks/values-signed.wgsl?raw';
import valuesTable from '../../../kernels/weights/blocks/values-table.wgsl?raw';
import { wgslFile } from '../../gpu/kernel.ts';
import type { WeightFormat } from '../../graph/weight.ts';
import {
  type ReadRow,
  readExponent,
  readHalf,
  readIq4,
  readK2,
  readK3,
  readK4,
  readK6,
  readPair,
} from './block-values.ts';
import * as write from './block-writers.ts';
import type { BlockType } from './types.ts';

/** What a stored block gives of a section: those of a row stand one after another. */
interface Part {
  readonly name: string;
  /** Of a stored block. */
  readonly bytes: number;
  readonly write: write.Write;
}

/** A section of a row: its parts one after another, each padded to a multiple of 16 bytes. */
export interface BlockSection {
  readonly name: string;
  readonly type: string;
  readonly parts: readonly Part[];
}

/** How numbers are packed: their bits, and the WGSL that gets them out. */
interface Numbers {
  readonly bits: 2 | 3 | 4 | 5 | 6 | 8;
  readonly text: string;
}

/** What makes values of numbers: the scales of a row, and the WGSL that reads them. */
interface Scales {
  readonly text: string;
  readonly read: ReadRow;
}

interface BlockLayout {
  /** Values in a stored block. */
  readonly values: 32 | 256;
  readonly numbers: Numbers;
  readonly scales: Scales;
  /** WGSL of `values_of`, with what it expects. */
  readonly text: string;
  /** What a number means, before it is multiplied with its factor and an offset is added. */
  readonly meaning: (number: number) => number;
  readonly blockSections: readonly BlockSection[];
}

export interface BlockFormat extends WeightFormat {
  readonly storedValues: 32 | 256;
  readonly blockSections: readonly BlockSection[];
}

const [two, three, four, five, six, eight] = (
  [
    [2, numbers2],
    [3, numbers3],
    [4, numbers4],
    [5, numbers5],
    [6, numbers6],
    [8, numbers8],
  ] as const
).map(([bits, text]): Numbers => ({ bits, text })) as [Numbers, Numbers, Numbers, Numbers, Numbers, Numbers];

const half: Scales = { text: scalesHalf, read: readHalf };
const pair: Scales = { text: scalesPair, read: readPair };
const k2: Scales = { text: scalesK2, read: readK2 };
const k3: Scales = { text: scalesK3, read: readK3 };
const k4: Scales = { text: scalesK4, read: readK4 };
const k6: Scales = { text: scalesK6, read: readK6 };
const iq4: Scales = { text: scalesIq4, read: readIq4 };
const exponent: Scales = { text: scalesExponent, read: readExponent };

const minus = (middle: number): Pick<BlockLayout, 'text' | 'meaning'> => ({
  text: `${valuesMinus}const middle: f32 = ${middle}.0;\n`,
  meaning: (number) => number - middle,
});
const plus: Pick<BlockLayout, 'text' | 'meaning'> = { text: valuesPlus, meaning: (number) => number };
const signed: Pick<BlockLayout, 'text' | 'meaning'> = {
  text: valuesSigned,
  meaning: (number) => (number << 24) >> 24,
};

function table(numbers: readonly number[]): Pick<BlockLayout, 'text' | 'meaning'> {
  const words = [...new Uint32Array(Int8Array.from(numbers).buffer)].map((word) => `${word}u`);
  return {
    text: `${valuesTable}const table = vec4<u32>(${words.join(', ')});\n`,
    meaning: (number) => numbers[number]!,
  };
}
const nonLinear = table([-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113]);
/** Twice the values of e2m1. */
const e2m1 = table([0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12]);

const vec4 = 'vec4<u32>';
const vec2 = 'vec2<u32>';
const part = (name: string, bytes: number, writer: write.Write): Part => ({ name, bytes, write: writer });
const section = (name: string, type: string, ...parts: readonly Part[]): BlockSection => ({
  name,
  type,
  parts,
});
/** Numbers of 4 bits that are stored in the order of numbers-4.wgsl. */
const nibbles = (from: number, bytes: number): Part => part('numbers', bytes, write.copy(from, bytes));
/** Of blocks of 32: bytes of a scale from the beginning of the block. */
const smallScale = (bytes: number): BlockSection =>
  section('scale', 'u32', part('scale', bytes, write.copy(0, bytes)));
/** Of blocks of 256: 16 bytes. */
const largeScale = (from: number, ...parts: readonly Part[]): BlockSection =>
  section('scale', vec4, part('scale', 16, write.copy(from, 16)), ...parts);

const LAYOUTS: Readonly<Record<BlockType, BlockLayout>> = {
  Q4_0: {
    values: 32,
    numbers: four,
    scales: half,
    ...minus(8),
    blockSections: [section('data', vec4, nibbles(2, 16)), smallScale(2)],
  },
  Q4_1: {
    values: 32,
    numbers: four,
    scales: pair,
    ...plus,
    blockSections: [section('data', vec4, nibbles(4, 16)), smallScale(4)],
  },
  Q5_0: {
    values: 32,
    numbers: five,
    scales: half,
    ...minus(16),
    blockSections: [
      section('data', vec4, nibbles(6, 16), part('high', 4, write.fifthBits(2))),
      smallScale(2),
    ],
  },
  Q5_1: {
    values: 32,
    numbers: five,
    scales: pair,
    ...plus,
    blockSections: [
      section('data', vec4, nibbles(8, 16), part('high', 4, write.fifthBits(4))),
      smallScale(4),
    ],
  },
  Q8_0: {
    values: 32,
    numbers: eight,
    scales: half,
    ...signed,
    blockSections: [section('data', vec4, part('numbers', 32, write.copy(2, 32))), smallScale(2)],
  },
  Q2_K: {
    values: 256,
    numbers: two,
    scales: k2,
    ...plus,
    blockSections: [
      section('data', vec2, part('numbers', 64, write.bitPairs(16))),
      largeScale(0, part('super', 4, write.copy(80, 4))),
    ],
  },
  Q3_K: {
    values: 256,
    numbers: three,
    scales: k3,
    ...minus(4),
    blockSections: [
      section('data', vec2, part('numbers', 64, write.bitPairs(32)), part('high', 32, write.singleBits(0))),
      section('scale', vec4, part('scale', 16, write.copy(96, 14))),
    ],
  },
  Q4_K: {
    values: 256,
    numbers: four,
    scales: k4,
    ...plus,
    blockSections: [section('data', vec4, part('numbers', 128, write.nibbles(16))), largeScale(0)],
  },
  Q5_K: {
    values: 256,
    numbers: five,
    scales: k4,
    ...plus,
    blockSections: [
      section('data', vec4, part('numbers', 128, write.nibbles(48)), part('high', 32, write.singleBits(16))),
      largeScale(0),
    ],
  },
  Q6_K: {
    values: 256,
    numbers: six,
    scales: k6,
    ...minus(32),
    blockSections: [
      section(
        'data',
        vec4,
        part('numbers', 128, write.nibblesOfSix(0)),
        part('high', 64, write.bitPairs(128)),
      ),
      largeScale(192, part('super', 2, write.copy(208, 2))),
    ],
  },
  IQ4_NL: {
    values: 32,
    numbers: four,
    scales: half,
    ...nonLinear,
    blockSections: [section('data', vec4, nibbles(2, 16)), smallScale(2)],
  },
  IQ4_XS: {
    values: 256,
    numbers: four,
    scales: iq4,
    ...nonLinear,
    blockSections: [
      section('data', vec4, nibbles(8, 128)),
      section('scale', vec2, part('scale', 8, write.copy(0, 8))),
    ],
  },
  MXFP4: {
    values: 32,
    numbers: four,
    scales: exponent,
    ...e2m1,
    blockSections: [section('data', vec4, nibbles(1, 16)), smallScale(1)],
  },
};

/** Values that a kernel unpacks at a time. */
const BLOCK = 32;

/** Bytes of a part of a row: rows are copied as whole vec4s. */
const partBytes = ({ bytes }: Part, rowBlocks: number): number => Math.ceil((rowBlocks * bytes) / 16) * 16;

function formatOf(name: string, layout: BlockLayout): BlockFormat {
  const { values, numbers, scales, text, meaning, blockSections } = layout;
  return {
    name,
    blockSize: BLOCK,
    fragment: wgslFile('kernels/weights/blocks/load.wgsl', load + numbers.text + scales.text + text),
    sections: blockSections.map(({ name, type, parts }) => ({
      name,
      type,
      rowBytes: (cols) => parts.reduce((sum, part) => sum + partBytes(part, Math.ceil(cols / values)), 0),
    })),
    fitsF16: false,
    decodeRow(sections, cols) {
      const parts = partsOf(blockSections, sections, Math.ceil(cols / values));
      return Float64Array.from({ length: cols }, (_, i) => {
        const { factor, offset } = scales.read(parts, i);
        return factor * meaning(numberAt(parts, numbers.bits, i)) + offset;
      });
    },
    storedValues: values,
    blockSections,
  };
}

/** The parts of a row by their names, from its sections. */
function partsOf(
  blockSections: readonly BlockSection[],
  sections: Readonly<Record<string, DataView>>,
  rowBlocks: number,
): Record<string, DataView> {
  const views: Record<string, DataView> = {};
  for (const { name, parts } of blockSections) {
    const { buffer, byteOffset } = sections[name]!;
    let at = byteOffset;
    for (const part of parts) {
      const bytes = partBytes(part, rowBlocks);
      views[part.name] = new DataView(buffer, at, bytes);
      at += bytes;
    }
  }
  return views;
}

/** By the name of the type. */
export const blockFormats = Object.fromEntries(
  Object.entries(LAYOUTS).map(([name, layout]) => [name, formatOf(name, layout)]),
) as Readonly<Record<BlockType, BlockFormat>>;

/** What `numRows` rows of `rowBlocks` stored blocks give of a section, `rowBytes` for each row. */
export function packSection(
  { parts }: BlockSection,
  bytes: Uint8Array,
  numRows: number,
  rowBlocks: number,
  rowBytes: number,
): Uint8Array<ArrayBuffer> {
  const packed = new Uint8Array(numRows * rowBytes);
  const target = { bytes: packed, words: new Uint32Array(packed.buffer) };
  const blockBytes = bytes.length / (numRows * rowBlocks);
  for (let row = 0; row < numRows; row++) {
    let begin = row * rowBytes;
    for (const part of parts) {
      for (let b = 0; b < rowBlocks; b++) {
        part.write(bytes, (row * rowBlocks + b) * blockBytes, target, begin + b * part.bytes);
      }
      begin += partBytes(part, rowBlocks);
    }
  }
  return packed;
}

/** The number of value i of a row, from its parts. */
function numberAt(parts: Readonly<Record<string, DataView>>, bits: Numbers['bits'], i: number): number {
  const { numbers, high } = parts as { numbers: DataView; high: DataView };
  const [block, e] = [Math.floor(i / BLOCK), i % BLOCK];
  // Within a block: value 4 w + byte.
  const [w, byte] = [e >> 2, e & 3];
  const nibble = (): number => (numbers.getUint8(16 * block + (e % 16)) >> (e < 16 ? 0 : 4)) & 15;
  const two = (view: DataView): number =>
    (view.getUint8(8 * block + (w < 4 ? 0 : 4) + byte) >> (2 * (w & 3))) & 3;
  const one = (): number => (high.getUint8(4 * block + byte) >> w) & 1;
  switch (bits) {
    case 2:
      return two(numbers);
    case 3:
      return two(numbers) + 4 * one();
    case 4:
      return nibble();
    case 5:
      return nibble() + 16 * one();
    case 6:
      return nibble() + 16 * two(high);
    case 8:
      return numbers.getUint8(i);
    default:
      return bits satisfies never;
  }
}
