/**
 * @file Rows of a plain format made rows of another one on the GPU while a checkpoint streams in: quantised to integers, or
 * rounded to 16 bits. Keeps account of what that costs in accuracy. It must not know names of models or where rows come from.
 */
import convertCode from '../../kernels/loading/convert.wgsl?raw';
import sharedCode from '../../kernels/loading/convert-shared.wgsl?raw';
import bf16Code from '../../kernels/loading/encode-bf16.wgsl?raw';
import f16Code from '../../kernels/loading/encode-f16.wgsl?raw';
import intsCode from '../../kernels/loading/encode-ints.wgsl?raw';
import sumErrorsCode from '../../kernels/loading/sum-errors.wgsl?raw';
import { NumericalError } from '../errors.ts';
import { readBuffer } from '../gpu/buffers.ts';
import type { GpuContext } from '../gpu/device.ts';
import { type Const, type WgslFile, wgslFile } from '../gpu/kernel.ts';
import type { WeightFormat } from '../graph/weight.ts';
import { convertedFormats } from './converted-formats.ts';
import {
  createGrowingBuffer,
  createUploadPass,
  groupsOf,
  type UploadPass,
  type UploadSource,
} from './upload-pass.ts';

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
  readonly part: WgslFile;
  readonly consts?: Readonly<Record<string, Const>>;
  /** Columns that a thread has. */
  readonly groupSize: number;
}

const loadingFile = (name: string, text: string): WgslFile => wgslFile(`kernels/loading/${name}.wgsl`, text);

/** Candidates of the search: clipping pays for few bits only. */
const CANDIDATES = { 4: 8, 8: 2 } as const;

const ints = (bits: 4 | 8, groupSize: number): Encoding => ({
  groupSize,
  part: loadingFile('encode-ints', intsCode),
  consts: { code_bits: bits, candidates: CANDIDATES[bits] },
});

/** What matrices can be converted to. */
const ENCODINGS: ReadonlyMap<WeightFormat, Encoding> = new Map([
  [convertedFormats.int4, ints(4, 32)],
  [convertedFormats.int8, ints(8, 64)],
  [convertedFormats.bf16, { groupSize: 8, part: loadingFile('encode-bf16', bf16Code) }],
  [convertedFormats.f16, { groupSize: 8, part: loadingFile('encode-f16', f16Code) }],
]);

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
  /**
   * One at a time; `from` must stay as it is until this resolves.
   * @param to the buffer of a section of the weight's part
   */
  convert(rows: RowsToConvert, from: GPUBuffer, to: (section: string) => GPUBuffer): Promise<void>;
  /** @throws NumericalError when a value was not finite, or too large for its new format */
  errors(): Promise<ConversionError[]>;
  dispose(): void;
}

/** Kinds of tensors that are told apart; models have about twenty. */
const MAX_CLASSES = 256;

const CONVERT_PARAMS = [
  'rows',
  'cols',
  'row_groups',
  'source_row_blocks',
  'first_source_row',
  'first_row',
  'row_step',
  'row_blocks',
  'row_scales',
] as const;
type ConvertParam = (typeof CONVERT_PARAMS)[number];

const SUM_ERRORS: UploadSource<'groups' | 'slot'> = {
  body: loadingFile('sum-errors', sumErrorsCode),
  params: ['groups', 'slot'],
  bindings: { errors: { type: 'vec4<f32>' }, sums: { type: 'vec4<f32>', access: 'read_write' } },
};

export function createConverter(gpu: GpuContext): Converter {
  const passes = new Map<string, UploadPass<ConvertParam>>();
  const sumErrors = createUploadPass(gpu, 'sum-errors', SUM_ERRORS);
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
    async convert(rows, from, to) {
      const { source, target, cols } = rows;
      const { groupSize } = ENCODINGS.get(target)!;
      const key = `${source.name} to ${target.name}`;
      let pass = passes.get(key);
      if (!pass) {
        pass = createUploadPass(gpu, key, convertSource(source, target));
        passes.set(key, pass);
      }
      const rowGroups = Math.ceil(cols / groupSize);
      const groups = rows.rows * rowGroups;
      const [data, scale] = target.sections;
      await pass.run(
        {
          rows: rows.rows,
          cols,
          row_groups: rowGroups,
          source_row_blocks: source.sections[0]!.rowBytes(cols) / 16,
          first_source_row: rows.firstSourceRow,
          first_row: rows.firstRow,
          row_step: rows.rowStep,
          row_blocks: data!.rowBytes(cols) / 16,
          row_scales: (scale?.rowBytes(cols) ?? 0) / 4,
        },
        [errors.atLeast(groups * 16), from, ...target.sections.map(({ name }) => to(name))],
        groupsOf(groups),
      );
      await sumErrors.run(
        { groups, slot: slotOf(rows) },
        [errors.atLeast(groups * 16), sums.atLeast(MAX_CLASSES * 16)],
        1,
      );
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

function convertSource(source: WeightFormat, target: WeightFormat): UploadSource<ConvertParam> {
  const { part, groupSize, consts } = ENCODINGS.get(target)!;
  const targets = target.sections.map(
    ({ name, type }) => [`target_${name}`, { type, access: 'read_write' }] as const,
  );
  return {
    body: loadingFile('convert', convertCode),
    parts: [source.fragment, loadingFile('convert-shared', sharedCode), part],
    consts: { group_vec4s: groupSize / 4, ...consts },
    params: CONVERT_PARAMS,
    bindings: {
      errors: { type: 'vec4<f32>', access: 'read_write' },
      weight_data: { type: source.sections[0]!.type },
      ...Object.fromEntries(targets),
    },
  };
}
