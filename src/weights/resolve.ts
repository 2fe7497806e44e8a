/**
 * @file Which format each weight of a graph gets, from what the checkpoint holds: names, shapes and dtypes are checked
 * here, before a byte of a tensor is read. Knows headers and formats; it must not know models or the GPU.
 */
import { MissingWeightError, UnsupportedConfigError, WeightMismatchError } from '../errors.ts';
import type { WeightFormat, WeightResolver } from '../graph/graph.ts';
import type { Checkpoint, TensorEntry } from './checkpoint.ts';
import { formats } from './formats.ts';
import { checkQuantization, checkScales } from './fp8.ts';
import type { SafetensorsDtype } from './safetensors.ts';

const table: Readonly<Record<string, WeightFormat>> = formats;

/** How a stored dtype is kept on the GPU. Widening is exact, so 8-bit and 16-bit weights stay what they are. */
const formatOfDtype: Partial<Record<SafetensorsDtype, string>> = {
  BF16: 'bf16',
  F16: 'f16',
  F32: 'f32',
  F64: 'f32',
  F8_E4M3: 'fp8',
};

/**
 * Resolves weights against the tensors of a checkpoint.
 * @throws UnsupportedConfigError when its config.json tells of a quantisation that is not implemented
 */
export function checkpointResolver({
  config,
  tensors,
}: Pick<Checkpoint, 'config' | 'tensors'>): WeightResolver {
  checkQuantization(config);
  return (names, shapes) => {
    const found = names.map((name, i) => checked(tensors, name, shapes[i]!));
    const kinds = new Set(found.map((t) => formatOfDtype[t.dtype]!));
    if (kinds.size > 1 && kinds.has('fp8')) throw mixedWithFp8(found);
    // Pieces of one weight in different dtypes meet in f32; vectors are f32 anyway.
    const isVector = shapes.every((s) => s.length === 1);
    return table[isVector || kinds.size > 1 ? 'f32' : [...kinds][0]!]!;
  };
}

/** What publishers of fp8 checkpoints leave in bf16: embeddings, heads, routers and what joins the two inputs of a draft. */
const LEFT_IN_BF16 =
  /(^|\.)(embed_tokens|lm_head|mlp\.gate|shared_expert_gate|eh_proj|shared_head(\.head)?)\.weight$/;

/**
 * Every matrix in one format, for plans of a config without a checkpoint; but with `fp8` those in bf16 that published
 * checkpoints leave so.
 */
export function uniformResolver(format: string): WeightResolver {
  const matrix = table[format];
  if (!matrix)
    throw new UnsupportedConfigError(
      `weight format ${format} is not known; known are ${Object.keys(table).join(', ')}`,
    );
  return (names, shapes) => {
    if (shapes.every((s) => s.length === 1)) return formats.f32;
    return matrix === formats.fp8 && names.some((name) => LEFT_IN_BF16.test(name)) ? formats.bf16 : matrix;
  };
}

function mixedWithFp8(found: readonly TensorEntry[]): WeightMismatchError {
  const narrow = found.find((t) => t.dtype === 'F8_E4M3')!;
  const wide = found.find((t) => t.dtype !== 'F8_E4M3')!;
  return new WeightMismatchError(
    `${narrow.name} is stored as ${narrow.dtype} and ${wide.name} as ${wide.dtype}; they make one matrix on the GPU and must both ` +
      'be F8_E4M3, or neither. Choose a checkpoint that quantises them alike.',
  );
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
  if (tensor.dtype === 'F8_E4M3') checkScales(tensors, tensor);
  return tensor;
}
