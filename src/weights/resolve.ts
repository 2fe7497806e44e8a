/**
 * @file Which format each weight of a graph gets, from what the checkpoint holds: names, shapes and dtypes are checked
 * here, before a byte of a tensor is read. Knows headers and formats; it must not know models or the GPU.
 */
import { MissingWeightError, UnsupportedConfigError, WeightMismatchError } from '../errors.ts';
import type { WeightFormat, WeightResolver } from '../graph/graph.ts';
import type { TensorEntry } from './checkpoint.ts';
import { formats } from './formats.ts';
import type { SafetensorsDtype } from './safetensors.ts';

const table: Readonly<Record<string, WeightFormat>> = formats;

/** How a stored dtype is kept on the GPU. Widening is exact, so 16-bit weights stay 16-bit. */
const formatOfDtype: Partial<Record<SafetensorsDtype, string>> = {
  BF16: 'bf16',
  F16: 'f16',
  F32: 'f32',
  F64: 'f32',
};

/** Resolves weights against the tensors of a checkpoint. */
export function checkpointResolver(tensors: ReadonlyMap<string, TensorEntry>): WeightResolver {
  return (names, shapes) => {
    const found = names.map((name, i) => checked(tensors, name, shapes[i]!));
    const kinds = new Set(found.map((t) => formatOfDtype[t.dtype]!));
    // Pieces of one weight in different dtypes meet in f32; vectors are f32 anyway.
    const isVector = shapes.every((s) => s.length === 1);
    return table[isVector || kinds.size > 1 ? 'f32' : [...kinds][0]!]!;
  };
}

/** Every matrix in one format, for plans of a config without a checkpoint. */
export function uniformResolver(format: string): WeightResolver {
  const matrix = table[format];
  if (!matrix)
    throw new UnsupportedConfigError(
      `weight format ${format} is not known; known are ${Object.keys(table).join(', ')}`,
    );
  return (_, shapes) => (shapes.every((s) => s.length === 1) ? formats.f32 : matrix);
}

function checked(
  tensors: ReadonlyMap<string, TensorEntry>,
  name: string,
  shape: readonly number[],
): TensorEntry {
  const tensor = tensors.get(name);
  if (!tensor) {
    const module = name.replace(/\.(weight|bias)$/, '');
    const near = [...tensors.keys()].filter((k) => k.startsWith(`${module}.`)).slice(0, 4);
    throw new MissingWeightError(
      `The checkpoint has no tensor ${name} (wanted [${shape}]). ${
        near.length > 0
          ? `It has ${near.join(', ')} instead: a quantised format that is not supported.`
          : 'Check that all its files are there and that config.json belongs to them.'
      }`,
    );
  }
  if (tensor.shape.join() !== shape.join()) {
    throw new WeightMismatchError(
      `${name} has shape [${tensor.shape}], config.json wants [${shape}]. Check that config.json belongs to these weights.`,
    );
  }
  if (!formatOfDtype[tensor.dtype]) {
    throw new WeightMismatchError(
      `${name} is stored as ${tensor.dtype}, wanted one of ${Object.keys(formatOfDtype).join(', ')}. Choose a checkpoint in one of these.`,
    );
  }
  return tensor;
}
