/**
 * @file Which format each weight of a graph gets, from what the checkpoint holds and what the weight is for. Knows headers and
 * formats; it must not know models or the GPU, nor what families name their tensors.
 */
import { MixedFormatsError, UnsupportedConfigError } from '../errors.ts';
import type { WantedWeight, Weight, WeightFormat, WeightResolver, WeightRole } from '../graph/weight.ts';
import { convertedFormats } from './converted-formats.ts';
import { formats } from './formats.ts';
import { checkStacks, findStored, isPlain, type StoredCheckpoint } from './stored.ts';
import type { StoredMatrix } from './stored-matrix.ts';

const table: Readonly<Record<string, WeightFormat>> = formats;

/** What a caller may want 16- and 32-bit matrices to become while they load. */
export type WantedFormat = keyof typeof convertedFormats;

/**
 * How much rounding a matrix bears.
 *   never: an error sends a token to other experts. 8 bits: it is read once for a token, or the token depends on it alone;
 *   publishers of quantised checkpoints leave both in bf16. any: what the caller wants.
 */
const BEARS: Readonly<Record<WeightRole, 'never' | '8 bits' | 'any'>> = {
  router: 'never',
  embedding: '8 bits',
  head: '8 bits',
  mtp: '8 bits',
  expert: 'any',
  projection: 'any',
};

/** What a matrix becomes that is stored in a plain format. */
function wantedFormat(
  role: WeightRole,
  stored: WeightFormat,
  wanted: WantedFormat | undefined,
): WeightFormat {
  const bears = BEARS[role];
  if (wanted === undefined || (bears === 'never' && wanted.startsWith('int'))) return stored;
  return convertedFormats[wanted === 'int4' && bears === '8 bits' ? 'int8' : wanted];
}

/** The format that a weight gets when `wanted` is asked for, from the one that it has as published. */
export function formatAs(
  { role, format }: Pick<Weight, 'role' | 'format'>,
  wanted: WantedFormat,
): WeightFormat {
  return role === undefined || !isPlain(format) ? format : wantedFormat(role, format, wanted);
}

/**
 * Resolves weights against the tensors of a checkpoint.
 * @param wanted for matrices in a plain format; those of a quantised checkpoint stay what they are
 * @throws UnsupportedConfigError when its config.json tells of a quantisation that is not implemented
 */
export function checkpointResolver(checkpoint: StoredCheckpoint, wanted?: WantedFormat): WeightResolver {
  const find = findStored(checkpoint);
  const resolve = (weight: WantedWeight): WeightFormat => {
    checkStacks(checkpoint.tensors, weight);
    const found = weight.names.map((_, i) => find(weight, i));
    const { format } = found[0]!;
    const other = found.find((stored) => stored.format !== format);
    // Pieces of one weight in different dtypes meet in f32.
    if (weight.role && found.every((stored) => isPlain(stored.format)))
      return wantedFormat(weight.role, other ? formats.f32 : format, wanted);
    if (!other) return format;
    throw mixed(
      found[0]!,
      other,
      found.map((stored) => stored.format),
    );
  };
  return Object.assign(resolve, { has: (name: string) => checkpoint.tensors.has(name) });
}

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
  return ({ role }) => {
    if (role === undefined) return formats.f32;
    return isPlain(matrix) || BEARS[role] === 'any' ? matrix : formats.bf16;
  };
}

function mixed(one: StoredMatrix, other: StoredMatrix, formats: readonly WeightFormat[]): MixedFormatsError {
  const describe = ({ pieces: [piece], format }: StoredMatrix): string =>
    `${piece!.tensor.name} is stored as ${piece!.tensor.dtype} (${format.name})`;
  return new MixedFormatsError(
    `${describe(one)} and ${describe(other)}; they make one matrix on the GPU and must be quantised alike. ` +
      'Choose a checkpoint that does so.',
    formats,
  );
}
