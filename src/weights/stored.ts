/**
 * @file How a checkpoint stores a matrix: the tensors that make it, the format they get on the GPU, and which part of which
 * section each of them gives. Names, shapes and dtypes are checked here, before a byte of a tensor is read. Each published
 * layout has a file of its own. It must not know models or the GPU.
 */
import { MissingWeightError, WeightMismatchError } from '../errors.ts';
import type { WantedWeight, WeightFormat } from '../graph/weight.ts';
import type { Checkpoint, StoredDtype, TensorEntry } from './checkpoint.ts';
import { formats } from './formats.ts';
import { heldTensor, heldVector, holderOf } from './held.ts';
import { packRows } from './pack.ts';
import type { Quantization } from './quantization.ts';
import { fitting, type Module, type StoredMatrix } from './stored-matrix.ts';

/** What is looked into. */
export type StoredCheckpoint = Pick<Checkpoint, 'config' | 'tensors' | 'quantised'>;

/** Finds how tensor `index` of a weight is stored: a matrix, or a vector [rows]. */
export type FindStored = (weight: WantedWeight, index: number) => StoredMatrix;

/** How a stored dtype is kept on the GPU. Widening is exact, so 16-bit weights stay what they are. */
const PLAIN: Partial<Record<StoredDtype, WeightFormat>> = {
  BF16: formats.bf16,
  F16: formats.f16,
  F32: formats.f32,
  F64: formats.f32,
};

/** Formats that any of them can be widened to f32. */
export const isPlain = (format: WeightFormat): boolean => Object.values(PLAIN).includes(format);

/**
 * Looks into a checkpoint's headers.
 * @throws UnsupportedConfigError when its config.json tells of a quantisation that is not implemented
 */
export function findStored({ config, tensors, quantised }: StoredCheckpoint): FindStored {
  const quantization = quantised?.readQuantization(config) ?? { method: 'none' };
  return (weight, index) => {
    const name = weight.names[index]!;
    const rows = weight.rowsOf[index]!;
    if (weight.isVector) return plain(checked(tensors, heldVector(tensors, weight, index), name, [rows]));
    const shape = [rows, weight.cols];
    const module = moduleOf(tensors, weight, index, quantization);
    return (
      storedBlocks(module) ??
      quantised?.storedQuantised(module) ??
      plain(checked(tensors, module.tensor('weight'), name, shape))
    );
  };
}

function storedBlocks(module: Module): StoredMatrix | undefined {
  const tensor = module.tensor('weight');
  if (!tensor?.blocks) return undefined;
  fitting(tensor, [module.rows, module.cols], [tensor.dtype]);
  return { format: tensor.blocks.format, pieces: tensor.blocks.pieces(tensor) };
}

function moduleOf(
  tensors: ReadonlyMap<string, TensorEntry>,
  weight: WantedWeight,
  index: number,
  quantization: Quantization,
): Module {
  const holder = holderOf(tensors, weight, index);
  const rows = weight.rowsOf[index]!;
  return {
    name: holder.name,
    rows,
    rowsStored: holder.rows?.of ?? rows,
    cols: weight.cols,
    quantization,
    tensor: (suffix) => heldTensor(holder, suffix),
  };
}

/**
 * Stacks hold exactly the experts that a model asks for.
 * @throws WeightMismatchError
 */
export function checkStacks(tensors: ReadonlyMap<string, TensorEntry>, weight: WantedWeight): void {
  const count = weight.rows / weight.unitRows;
  if (weight.role !== 'expert') return;
  const stacks = weight.names
    .map((_, i) => holderOf(tensors, weight, i))
    .filter((h) => h.expert !== undefined);
  for (const stack of new Set(stacks.map(({ tensor }) => tensor('weight')))) {
    if (!stack || stack.shape[0] === count) continue;
    throw new WeightMismatchError(
      `${stack.name} has shape [${stack.shape}], config.json wants ${count} experts. Check that config.json belongs to these weights.`,
    );
  }
}

function plain(tensor: TensorEntry): StoredMatrix {
  const isVector = tensor.shape.length === 1;
  return {
    format: isVector ? formats.f32 : PLAIN[tensor.dtype]!,
    pieces: [
      {
        lies: 'rows',
        tensor,
        section: 'data',
        rowsPerStored: 1,
        pack: (bytes, numRows, _, format) => packRows(format, isVector, tensor.dtype, bytes, numRows),
      },
    ],
  };
}

function checked(
  tensors: ReadonlyMap<string, TensorEntry>,
  tensor: TensorEntry | undefined,
  name: string,
  shape: readonly number[],
): TensorEntry {
  if (!tensor) {
    throw new MissingWeightError(
      `The checkpoint has no tensor ${name} (wanted [${shape}]). ${insteadOf(name, [...tensors.keys()])}`,
    );
  }
  fitting(tensor, shape, [tensor.dtype]);
  if (!PLAIN[tensor.dtype]) {
    throw new WeightMismatchError(
      `${name} is stored as ${tensor.dtype}, wanted one of ${Object.keys(PLAIN).join(', ')}` +
        `${shape.length > 1 ? ', F8_E4M3 with scales, or a supported quantised format' : ''}. Choose a checkpoint in one of these.`,
    );
  }
  return tensor;
}

/** What there is in place of a tensor, and what to do. */
function insteadOf(name: string, names: readonly string[]): string {
  const module = name.replace(/\.(weight|bias)$/, '');
  const near = names.filter((other) => other.startsWith(`${module}.`)).slice(0, 4);
  if (near.length > 0) return `It has ${near.join(', ')} instead: a quantised format that is not supported.`;
  const wrapped = names.find((other) => other.endsWith(`.${name}`));
  if (wrapped) {
    const prefix = wrapped.slice(0, -name.length);
    return `It has ${wrapped} instead. Save the model without what gives its names the prefix "${prefix}".`;
  }
  const adapter = names.find((other) => /\.lora_[AB]\./.test(other));
  return adapter
    ? `It has ${adapter}: this is a LoRA adapter. Merge it into its base model and give the result.`
    : 'Check that all its files are there and that config.json belongs to them.';
}
