/**
 * @file Which format each weight of a graph gets, from what the checkpoint holds. Knows headers and formats; it must not know
 * models or the GPU.
 */
import { UnsupportedConfigError, WeightMismatchError } from '../errors.ts';
import type { Weight, WeightFormat, WeightResolver } from '../graph/weight.ts';
import type { Checkpoint } from './checkpoint.ts';
import { convertedFormats } from './convert.ts';
import { formats } from './formats.ts';
import { checkStacks, findStored, isPlain } from './stored.ts';
import type { StoredMatrix } from './stored-matrix.ts';

const table: Readonly<Record<string, WeightFormat>> = formats;

/** What a caller may want 16- and 32-bit matrices to become while they load. */
export type WantedFormat = keyof typeof convertedFormats;

/** Read once for a token, or by it alone: 8 bits, where the layers have 4. */
const AT_LEAST_INT8 = /(^|\.)(embed_tokens|lm_head|shared_head\.head|eh_proj)\.weight$/;
/** A rounding error here sends a token to other experts. */
const ROUTER = /(^|\.)(mlp\.gate|shared_expert_gate)\.weight$/;

/** What matrices become that are stored in a plain format. */
function wantedFormat(
  names: readonly string[],
  stored: WeightFormat,
  wanted: WantedFormat | undefined,
): WeightFormat {
  const isRouter = names.some((name) => ROUTER.test(name));
  if (wanted === undefined || (isRouter && wanted.startsWith('int'))) return stored;
  const is8Bit = wanted === 'int4' && names.some((name) => AT_LEAST_INT8.test(name));
  return convertedFormats[is8Bit ? 'int8' : wanted];
}

/** The format that a weight gets when `wanted` is asked for, from the one that it has as published. */
export function formatAs(
  { names, isVector, format }: Pick<Weight, 'names' | 'isVector' | 'format'>,
  wanted: WantedFormat,
): WeightFormat {
  return isVector || !isPlain(format) ? format : wantedFormat(names, format, wanted);
}

/**
 * Resolves weights against the tensors of a checkpoint.
 * @param wanted for matrices in a plain format; those of a quantised checkpoint stay what they are
 * @throws UnsupportedConfigError when its config.json tells of a quantisation that is not implemented
 */
export function checkpointResolver(
  checkpoint: Pick<Checkpoint, 'config' | 'tensors'>,
  wanted?: WantedFormat,
): WeightResolver {
  const find = findStored(checkpoint);
  return (names, shapes) => {
    checkStacks(checkpoint.tensors, names);
    const found = names.map((name, i) => find(name, shapes[i]!));
    const { format } = found[0]!;
    const other = found.find((stored) => stored.format !== format);
    const isVector = shapes.every((shape) => shape.length === 1);
    // Pieces of one weight in different dtypes meet in f32.
    if (!isVector && found.every((stored) => isPlain(stored.format)))
      return wantedFormat(names, other ? formats.f32 : format, wanted);
    if (!other) return format;
    throw mixed(found[0]!, other);
  };
}

/** What publishers of quantised checkpoints leave in bf16: embeddings, heads, routers and what joins the two inputs of a draft. */
const LEFT_IN_BF16 =
  /(^|\.)(embed_tokens|lm_head|mlp\.gate|shared_expert_gate|eh_proj|shared_head(\.head)?)\.weight$/;

/**
 * Every matrix in one format, for plans of a config without a checkpoint; but with a quantised one those in bf16 that
 * published checkpoints leave so.
 */
export function uniformResolver(format: string): WeightResolver {
  const matrix = table[format];
  if (!matrix)
    throw new UnsupportedConfigError(
      `weight format ${format} is not known; known are ${Object.keys(table).join(', ')}`,
    );
  return (names, shapes) => {
    if (shapes.every((s) => s.length === 1)) return formats.f32;
    return !isPlain(matrix) && names.some((name) => LEFT_IN_BF16.test(name)) ? formats.bf16 : matrix;
  };
}

function mixed(one: StoredMatrix, other: StoredMatrix): WeightMismatchError {
  const describe = ({ pieces: [piece], format }: StoredMatrix): string =>
    `${piece!.tensor.name} is stored as ${piece!.tensor.dtype} (${format.name})`;
  return new WeightMismatchError(
    `${describe(one)} and ${describe(other)}; they make one matrix on the GPU and must be quantised alike. ` +
      'Choose a checkpoint that does so.',
  );
}
