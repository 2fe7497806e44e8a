/**
 * @file Integer weights as GPTQ and AWQ (gemm) store them, rows of inputs: W[o, i] = scales[g, o] * (q[i, o] - zero[g, o]), g the group
 * of input i. `X.scales` f16 [groups, out], and packed into int32 words, the first of n = 32 / bits values in the low bits:
 *   GPTQ: `X.qweight` [in / n, out], n inputs to a word; `X.qzeros` [groups, out / n], zero = stored + 1 (gptq_v2: stored) within
 *   `bits` bits, with `sym` 2^(bits - 1), which some files store as it is although they say gptq; `X.g_idx` int32 [in], the group of
 *   every input.
 *   AWQ: `X.qweight` [in, out / 8] and `X.qzeros` [groups, out / 8], where value n of a word is output AWQ_ORDER[n] of its eight.
 * It must not know models or the GPU. Source: AutoGPTQ, qlinear_cuda_old.py; AutoAWQ, modules/linear/gemm.py.
 */
import { UnsupportedConfigError, WeightMismatchError } from '../errors.ts';
import { intFormat, MAX_ANY_GROUPS } from './int-format.ts';
import { shortNumber } from './pack.ts';
import type { Quantization } from './quantization.ts';
import {
  fitting,
  type Module,
  needed,
  type Piece,
  type StoredMatrix,
  type TensorEntry,
} from './stored-matrix.ts';

/** AutoAWQ's order_map. */
const AWQ_ORDER = [0, 2, 4, 6, 1, 3, 5, 7] as const;
/** Where in a word of AWQ each of eight neighbouring outputs stands. */
const AWQ_PLACE = AWQ_ORDER.map((_, output) => AWQ_ORDER.indexOf(output as 0));

/** A matrix with `qweight`, or undefined. @throws MissingWeightError | WeightMismatchError | UnsupportedConfigError naming the tensor */
export function storedGptq(module: Module): StoredMatrix | undefined {
  const qweight = module.tensor('qweight');
  if (!qweight) return undefined;
  const { quantization } = module;
  if (quantization.method === 'gptq') return gptq(module, qweight, quantization);
  if (quantization.method === 'awq') return awq(module, qweight, quantization);
  throw new UnsupportedConfigError(
    `${qweight.name} is packed as GPTQ or AWQ do, and quantization_config of config.json does not tell which. Check that config.json ` +
      'belongs to these weights.',
  );
}

type Config<Method> = Extract<Quantization, { method: Method }>;

function gptq(module: Module, qweight: TensorEntry, config: Config<'gptq'>): StoredMatrix {
  const { rows, cols } = module;
  const bits = bitsOf(module, qweight, config);
  const perWord = 32 / bits;
  fitting(qweight, [cols / perWord, rows], ['I32']);
  const { scales, groupSize, numGroups } = scalesOf(module, config, config.hasOverrides);
  const zeros = needed(module, 'qzeros', [numGroups, rows / perWord], ['I32']);
  const order = module.tensor('g_idx');
  if (order) fitting(order, [cols], ['I32']);
  const anyGroup = config.isAnyOrder && numGroups > 1;
  if (anyGroup && numGroups > MAX_ANY_GROUPS) {
    throw new UnsupportedConfigError(
      `${qweight.name}: columns in any order (desc_act) of ${numGroups} groups; at most ${MAX_ANY_GROUPS} are supported. Choose a ` +
        'checkpoint without desc_act, or with larger groups.',
    );
  }
  const pieces: Piece[] = [
    // Words hold the same inputs in the same order as those of a row; only the rows stand the other way round.
    { lies: 'columns', tensor: qweight, section: 'data', storedPerWord: 1, pack: (bytes) => bytes },
    ...scaleWords(scales, zeros, {
      bits,
      offset: config.zeroOffset,
      isSymmetric: config.isSymmetric,
      placeOf: (output) => output % perWord,
    }),
  ];
  if (anyGroup) {
    const g = needed(module, 'g_idx', [cols], ['I32']);
    pieces.push({
      lies: 'everyRow',
      tensor: g,
      section: 'data',
      firstWord: Math.ceil(cols / (128 / bits)) * 4,
      pack: (bytes) => groupBytes(g, bytes, numGroups),
    });
  } else if (order) {
    const check = (bytes: Uint8Array<ArrayBuffer>): void => checkOrder(order, bytes, groupSize ?? cols);
    pieces.push({ lies: 'nowhere', tensor: order, check });
  }
  return { format: intFormat({ bits, groupSize, words: wordsOf(scales), anyGroup }), pieces };
}

function awq(module: Module, qweight: TensorEntry, config: Config<'awq'>): StoredMatrix {
  const { rows, cols } = module;
  fitting(qweight, [cols, rows / 8], ['I32']);
  if (cols % 8 !== 0)
    throw new WeightMismatchError(
      `${qweight.name} has ${cols} inputs, wanted a multiple of 8, which make a word.`,
    );
  const { scales, groupSize, numGroups } = scalesOf(module, config, false);
  const zeros = needed(module, 'qzeros', [numGroups, rows / 8], ['I32']);
  return {
    format: intFormat({ bits: 4, groupSize, words: wordsOf(scales) }),
    pieces: [
      {
        lies: 'columns',
        tensor: qweight,
        section: 'data',
        storedPerWord: 8,
        pack: (bytes) => awqWords(bytes, rows),
      },
      ...scaleWords(scales, zeros, {
        bits: 4,
        offset: 0,
        isSymmetric: false,
        placeOf: (output) => AWQ_PLACE[output % 8]!,
      }),
    ],
  };
}

const wordsOf = ({ dtype }: TensorEntry) => (dtype === 'F16' ? 'f16-zero' : 'bf16-zero');

function bitsOf({ cols }: Module, qweight: TensorEntry, config: Config<'gptq'>): 4 | 8 {
  const found = ((qweight.shape[0] ?? 0) * 32) / cols;
  const isKnown = found === 4 || found === 8;
  if (isKnown && (config.hasOverrides || found === config.bits)) return found;
  throw new WeightMismatchError(
    `${qweight.name} has shape [${qweight.shape}], which for ${cols} inputs makes ${found} bits, and config.json says ${config.bits} ` +
      '(4 and 8 are supported). Check that config.json belongs to these weights.',
  );
}

/** Scales [groups, out], with the group size that config.json says, or where modules have their own that the shape tells. */
function scalesOf(
  module: Module,
  config: Config<'gptq' | 'awq'>,
  hasOverrides: boolean,
): { scales: TensorEntry; groupSize: number | undefined; numGroups: number } {
  const { rows, cols } = module;
  const size = config.groupSize ?? cols;
  const wanted = Math.ceil(cols / size);
  const numGroups = hasOverrides ? (module.tensor('scales')?.shape[0] ?? wanted) : wanted;
  const scales = needed(module, 'scales', [numGroups, rows], ['F16', 'BF16']);
  if (numGroups === 1) return { scales, groupSize: undefined, numGroups };
  const groupSize = numGroups === wanted ? size : cols / numGroups;
  if (groupSize % 32 === 0) return { scales, groupSize, numGroups };
  throw new WeightMismatchError(
    `${scales.name} has shape [${scales.shape}], which makes groups of ${groupSize} of ${cols} inputs; multiples of 32 are supported.`,
  );
}

interface Zeros {
  bits: 4 | 8;
  offset: 0 | 1;
  /** All are 2^(bits - 1), stored with the offset or without. */
  isSymmetric: boolean;
  /** Where in its word an output stands. */
  placeOf(output: number): number;
}

/** Scales go to the low halves of the scale words, zero points as numbers of the same type to the high halves. */
function scaleWords(
  scales: TensorEntry,
  zeros: TensorEntry,
  { bits, offset, isSymmetric, placeOf }: Zeros,
): Piece[] {
  const top = 2 ** bits - 1;
  const middle = 2 ** (bits - 1);
  const asHalf = Uint32Array.from({ length: top + 1 }, (_, zero) => shortNumber(zero, scales.dtype) << 16);
  const perWord = 32 / bits;
  const shifts = Uint8Array.from({ length: perWord }, (_, output) => placeOf(output) * bits);
  return [
    {
      lies: 'columns',
      tensor: scales,
      section: 'scale',
      storedPerWord: 1,
      pack: (bytes) => {
        const halves = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
        const words = new Uint32Array(bytes.length / 2);
        for (let i = 0; i < words.length; i++) words[i] = halves.getUint16(2 * i, true);
        return new Uint8Array(words.buffer);
      },
    },
    {
      lies: 'columns',
      tensor: zeros,
      section: 'scale',
      storedPerWord: 1,
      pack: (bytes) => {
        const stored = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
        const words = new Uint32Array((bytes.length / 4) * perWord);
        for (let i = 0; i < words.length; i++) {
          const packed = stored.getUint32(Math.floor(i / perWord) * 4, true);
          const zero = (packed >>> shifts[i % perWord]!) & top;
          if (isSymmetric && zero !== middle && zero !== middle - 1) {
            throw new WeightMismatchError(
              `${zeros.name} has the zero point ${zero}, although config.json says sym: true, which makes every one ${middle}. Check that config.json belongs to these weights.`,
            );
          }
          // As AutoGPTQ does, the sum wraps: zero point 0 is stored as -1.
          words[i] = asHalf[isSymmetric ? middle : (zero + offset) & top]!;
        }
        return new Uint8Array(words.buffer);
      },
    },
  ];
}

/** Words of 8 inputs of an output, [in / 8, out], from words of 8 outputs of an input. */
function awqWords(bytes: Uint8Array<ArrayBuffer>, rows: number): Uint8Array<ArrayBuffer> {
  const stored = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const words = new Uint32Array(bytes.length / 4);
  const rowWords = rows / 8;
  const square = new Int32Array(8);
  for (let first = 0; first < words.length; first += rows) {
    for (let w = 0; w < rowWords; w++) {
      for (let input = 0; input < 8; input++)
        square[input] = stored.getInt32(4 * (first + input * rowWords + w), true);
      transposeNibbles(square);
      for (let n = 0; n < 8; n++) words[first + w * 8 + AWQ_ORDER[n]!] = square[n]!;
    }
  }
  return new Uint8Array(words.buffer);
}

/** Eight words as a square of 8 x 8 nibbles: nibble i of word n becomes nibble n of word i. Swaps squares of 4, of 2, of 1. */
function transposeNibbles(words: Int32Array): void {
  for (const [side, mask] of TRANSPOSE_STEPS) {
    for (let i = 0; i < 8; i++) {
      if (i & side) continue;
      const swapped = ((words[i]! >>> (4 * side)) ^ words[i + side]!) & mask;
      words[i + side]! ^= swapped;
      words[i]! ^= swapped << (4 * side);
    }
  }
}

/** The side of the squares, and the bits of the lower of two. */
const TRANSPOSE_STEPS = [
  [4, 0xffff],
  [2, 0x00ff00ff],
  [1, 0x0f0f0f0f],
] as const;

/** The group of every input as bytes, padded with zeros to whole words. */
function groupBytes(
  { name }: TensorEntry,
  bytes: Uint8Array<ArrayBuffer>,
  numGroups: number,
): Uint8Array<ArrayBuffer> {
  const groups = new Uint8Array(Math.ceil(bytes.length / 16) * 4);
  eachGroup(bytes, (group, i) => {
    if (group < 0 || group >= numGroups) {
      throw new WeightMismatchError(
        `${name} says that input ${i} belongs to group ${group}, and there are ${numGroups}. Download the checkpoint again.`,
      );
    }
    groups[i] = group;
  });
  return groups;
}

function checkOrder({ name }: TensorEntry, bytes: Uint8Array<ArrayBuffer>, groupSize: number): void {
  eachGroup(bytes, (group, i) => {
    const wanted = Math.floor(i / groupSize);
    if (group === wanted) return;
    throw new WeightMismatchError(
      `${name} says that input ${i} belongs to group ${group}, not ${wanted}, although config.json says that inputs are in order ` +
        '(desc_act false). Check that config.json belongs to these weights.',
    );
  });
}

function eachGroup(bytes: Uint8Array<ArrayBuffer>, visit: (group: number, input: number) => void): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let i = 0; i < bytes.length / 4; i++) visit(view.getInt32(4 * i, true), i);
}
