/**
 * @file Rows of a plain format made rows of another one on the GPU while a checkpoint streams in: quantised to integers, or
 * rounded to 16 bits. Keeps account of what that costs in accuracy. It must not know names of models or where rows come from.
 */
import convertCode from '../../kernels/weights/convert.wgsl?raw';
import preludeCode from '../../kernels/weights/convert-prelude.wgsl?raw';
import bf16Code from '../../kernels/weights/encode-bf16.wgsl?raw';
import f16Code from '../../kernels/weights/encode-f16.wgsl?raw';
import intsCode from '../../kernels/weights/encode-ints.wgsl?raw';
import sumErrorsCode from '../../kernels/weights/sum-errors.wgsl?raw';
import { NumericalError } from '../errors.ts';
import { readBuffer } from '../gpu/buffers.ts';
import type { GpuContext } from '../gpu/device.ts';
import type { WeightFormat } from '../graph/weight.ts';
import { formats } from './formats.ts';
import { intFormat } from './int-format.ts';
import { createGrowingBuffer, createUploadPass, groupsOf, type UploadPass } from './upload-pass.ts';

/** What a weight lost when it was converted. */
export interface ConversionError {
  /** The tensors' name without the numbers of layers and experts. */
  readonly tensors: string;
  readonly format: string;
  /** Sum of all errors over the sum of all values, both without sign. */
  readonly meanRelativeError: number;
  /** The largest error in a group of columns over the largest value in it. */
  readonly maxRelativeError: number;
}

interface Encoding {
  readonly code: string;
  /** Columns that a thread has. */
  readonly groupSize: number;
}

/** Candidates of the search: clipping pays for few bits only. */
const CANDIDATES = { 4: 8, 8: 2 } as const;

function ints(bits: 4 | 8, groupSize: number): [WeightFormat, Encoding] {
  const consts = `const code_bits: u32 = ${bits}u;\nconst candidates: u32 = ${CANDIDATES[bits]}u;\n`;
  return [intFormat({ bits, groupSize, words: 'bf16-bias' }), { groupSize, code: intsCode + consts }];
}

const int4 = ints(4, 32);
const int8 = ints(8, 64);

/** What matrices can be converted to. */
const ENCODINGS: ReadonlyMap<WeightFormat, Encoding> = new Map([
  int4,
  int8,
  [formats.bf16, { groupSize: 8, code: bf16Code }],
  [formats.f16, { groupSize: 8, code: f16Code }],
]);

/** Formats of weights that are converted while they load, by the names that callers use. */
export const convertedFormats = {
  int4: int4[0],
  int8: int8[0],
  f16: formats.f16,
  bf16: formats.bf16,
} as const;

/** Rows in a buffer, and where they go. */
export interface RowsToConvert {
  /** For the account of errors. */
  readonly name: string;
  readonly source: WeightFormat;
  readonly target: WeightFormat;
  readonly cols: number;
  readonly rows: number;
  readonly firstSourceRow: number;
  readonly firstRow: number;
  readonly rowStep: number;
}

export interface Converter {
  /** @param to the buffer of a section of the weight's part */
  convert(rows: RowsToConvert, from: GPUBuffer, to: (section: string) => GPUBuffer): void;
  /** @throws NumericalError when a value was not finite, or too large for its new format */
  errors(): Promise<ConversionError[]>;
  dispose(): void;
}

/** Kinds of tensors that are told apart; models have about twenty. */
const MAX_CLASSES = 256;

export function createConverter(gpu: GpuContext): Converter {
  const passes = new Map<string, UploadPass>();
  const sumErrors = createUploadPass(gpu, 'sum-errors', sumErrorsCode);
  const errors = createGrowingBuffer(gpu, 'conversion errors');
  const sums = createGrowingBuffer(gpu, 'sums of conversion errors');
  const classes = new Map<string, { tensors: string; format: string; slot: number }>();

  function slotOf({ name, target }: RowsToConvert): number {
    const tensors = name.replace(/\.weight$/, '').replace(/\.\d+(?=\.)/g, '');
    const key = `${tensors} ${target.name}`;
    let found = classes.get(key);
    if (!found) {
      found = { tensors, format: target.name, slot: Math.min(classes.size, MAX_CLASSES - 1) };
      classes.set(key, found);
    }
    return found.slot;
  }

  return {
    convert(rows, from, to) {
      const { source, target, cols } = rows;
      const { groupSize } = ENCODINGS.get(target)!;
      const key = `${source.name} to ${target.name}`;
      let pass = passes.get(key);
      if (!pass) {
        pass = createUploadPass(gpu, key, codeOf(source, target));
        passes.set(key, pass);
      }
      const rowGroups = Math.ceil(cols / groupSize);
      const groups = rows.rows * rowGroups;
      const [data, scale] = target.sections;
      pass.run(
        [
          rows.rows,
          cols,
          rowGroups,
          source.sections[0]!.rowBytes(cols) / 16,
          rows.firstSourceRow,
          rows.firstRow,
          rows.rowStep,
          data!.rowBytes(cols) / 16,
          (scale?.rowBytes(cols) ?? 0) / 4,
        ],
        [errors.atLeast(groups * 16), from, ...target.sections.map(({ name }) => to(name))],
        groupsOf(groups),
      );
      sumErrors.run([groups, slotOf(rows)], [errors.atLeast(groups * 16), sums.atLeast(MAX_CLASSES * 16)], 1);
    },
    async errors() {
      if (classes.size === 0) return [];
      const all = new Float32Array(await readBuffer(gpu.buffers, sums.atLeast(MAX_CLASSES * 16)));
      return [...classes.values()].map(({ tensors, format, slot }) => {
        const [error, size, most, numBad] = all.subarray(slot * 4, slot * 4 + 4) as unknown as number[];
        if (numBad! > 0) {
          throw new NumericalError(
            `${tensors} holds values that are not finite or too large for ${format}. Load it with weights: 'bf16', or check the checkpoint's files.`,
          );
        }
        return {
          tensors,
          format,
          meanRelativeError: size! > 0 ? error! / size! : 0,
          maxRelativeError: most!,
        };
      });
    },
    dispose() {
      for (const pass of passes.values()) pass.dispose();
      for (const { dispose } of [sumErrors, errors, sums]) dispose();
    },
  };
}

function codeOf(source: WeightFormat, target: WeightFormat): string {
  const { code, groupSize } = ENCODINGS.get(target)!;
  return [
    `const group_vec4s: u32 = ${groupSize / 4}u;`,
    `@group(0) @binding(2) var<storage, read> weight_data: array<${source.sections[0]!.type}>;`,
    source.fragment.text,
    preludeCode,
    code,
    convertCode,
  ].join('\n');
}
