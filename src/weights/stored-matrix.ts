/**
 * @file What a stored matrix is: pieces that each give some bits of a section. And the checks that the files of the published
 * layouts share: a tensor that has to be there, its shape and its type.
 */
import { MissingWeightError, WeightMismatchError } from '../errors.ts';
import type { WeightFormat } from '../graph/weight.ts';
import type { BlockType } from './gguf/types.ts';
import type { Quantization } from './quantization.ts';
import type { SafetensorsDtype, StoredTensor } from './safetensors.ts';

export type StoredDtype = SafetensorsDtype | BlockType;

/** One tensor of a checkpoint: where its bytes are and what they mean. */
export interface TensorEntry extends Omit<StoredTensor, 'dtype'> {
  dtype: StoredDtype;
  /** Of a type whose blocks stay packed. */
  blocks?: StoredBlocks | undefined;
  /** Name of its file in the source. */
  file: string;
}

/** Stored rows are rows of the weight. */
export interface RowsPiece {
  readonly lies: 'rows';
  readonly tensor: TensorEntry;
  readonly section: string;
  /** Rows of the weight that a stored row gives. */
  readonly rowsPerStored: number;
  /** Gives some bits of every word, and zeros for the others, which another piece gives. */
  readonly isPartial?: boolean;
  /** The section's bytes of `numRows` rows of the weight, `rowBytes` each. */
  pack(
    bytes: Uint8Array<ArrayBuffer>,
    numRows: number,
    rowBytes: number,
    format: WeightFormat,
  ): Uint8Array<ArrayBuffer>;
}

/** Stored rows are columns of the weight: so many of them give a word of every row. */
export interface ColumnsPiece {
  readonly lies: 'columns';
  readonly tensor: TensorEntry;
  readonly section: string;
  readonly storedPerWord: number;
  /** Words [words, rows of the weight]; bits that another piece gives are zeros. */
  pack(bytes: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer>;
}

/** The same words for every row of the weight, from word `firstWord` of a row on. */
export interface EveryRowPiece {
  readonly lies: 'everyRow';
  readonly tensor: TensorEntry;
  readonly section: string;
  readonly firstWord: number;
  pack(bytes: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer>;
}

/** Gives nothing, but has to hold what the others take for granted. */
export interface CheckedPiece {
  readonly lies: 'nowhere';
  readonly tensor: TensorEntry;
  /** @throws WeightMismatchError */
  check(bytes: Uint8Array<ArrayBuffer>): void;
}

export type Piece = RowsPiece | ColumnsPiece | EveryRowPiece | CheckedPiece;

/** How a tensor is stored whose blocks mean the same in every checkpoint. */
export interface StoredBlocks {
  readonly format: WeightFormat;
  /** Those of a matrix, or of some matrices of a stack. */
  pieces(tensor: TensorEntry): readonly Piece[];
}

export interface StoredMatrix {
  readonly format: WeightFormat;
  readonly pieces: readonly Piece[];
}

/** A module whose matrix is wanted. */
export interface Module {
  /** Without `.weight`. */
  readonly name: string;
  readonly rows: number;
  /** Rows that the file says: more, where others are in the same matrix. */
  readonly rowsStored: number;
  readonly cols: number;
  readonly quantization: Quantization;
  /** The tensor `name.suffix`. */
  tensor(suffix: string): TensorEntry | undefined;
}

/** Types of scales as published. */
export const SCALE_DTYPES: readonly StoredDtype[] = ['F32', 'BF16', 'F16'];

/** The tensor `suffix` of a module. @throws MissingWeightError | WeightMismatchError naming the tensor */
export function needed(
  module: Module,
  suffix: string,
  shape: readonly number[],
  dtypes: readonly StoredDtype[],
): TensorEntry {
  const tensor = module.tensor(suffix);
  if (!tensor) {
    throw new MissingWeightError(
      `The checkpoint has no ${module.name}.${suffix} (wanted [${shape}]), which belongs to the quantised weights ` +
        `[${module.rows},${module.cols}] of ${module.name}. Check that all its files are there.`,
    );
  }
  return fitting(tensor, shape, dtypes);
}

/** The tensor itself. @throws WeightMismatchError when it has another shape or type */
export function fitting(
  tensor: TensorEntry,
  shape: readonly number[],
  dtypes: readonly StoredDtype[],
): TensorEntry {
  if (tensor.shape.join() !== shape.join()) {
    throw new WeightMismatchError(
      `${tensor.name} has shape [${tensor.shape}], config.json wants [${shape}]. Check that config.json belongs to these weights.`,
    );
  }
  if (!dtypes.includes(tensor.dtype)) {
    throw new WeightMismatchError(
      `${tensor.name} is stored as ${tensor.dtype}, wanted ${dtypes.length > 1 ? 'one of ' : ''}${dtypes.join(', ')}.`,
    );
  }
  return tensor;
}
