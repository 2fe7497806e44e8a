/**
 * @file What holds a matrix that a checkpoint does not have under the name that families ask by: a stack of all experts (mlx-lm's
 * `switch_mlp.down_proj.weight`, transformers' `experts.down_proj`), one matrix with its neighbours (`qkv_proj`, `gate_up_proj`: the
 * rows of one after those of another), or both. It must not know formats, models or the GPU.
 */
import { UnsupportedConfigError, WeightMismatchError } from '../errors.ts';
import type { WantedWeight } from '../graph/weight.ts';
import type { TensorEntry } from './checkpoint.ts';
import { FP8_BLOCK } from './fp8-block.ts';

type Tensors = ReadonlyMap<string, TensorEntry>;

/** Modules whose rows stand one after another in one matrix, and its name. */
const FUSED: readonly (readonly [parts: readonly string[], whole: string])[] = [
  [['q_proj', 'k_proj', 'v_proj'], 'qkv_proj'],
  [['gate_proj', 'up_proj'], 'gate_up_proj'],
];

/** Any of these tells that a module is there, whatever its layout. */
const KINDS = ['weight', 'weight_packed', 'qweight'];

/** Rows of a larger matrix. */
interface Rows {
  readonly begin: number;
  readonly end: number;
  /** All that it has. */
  readonly of: number;
}

interface Spelling {
  /** A module's name. */
  readonly name: string;
  /** Of a stack: which of its matrices. */
  readonly expert: number | undefined;
  /** The tensor `name.suffix`, with all that it holds. */
  tensor(suffix: string): TensorEntry | undefined;
}

export interface Holder extends Spelling {
  /** Undefined: all. */
  readonly rows: Rows | undefined;
}

/** `X.weight` is the tensor `weight` of the module X. */
const split = (name: string): [module: string, suffix: string] => {
  const at = name.lastIndexOf('.');
  return [name.slice(0, at), name.slice(at + 1)];
};

/** What holds matrix (or vector) `index` of a weight; where nothing does, the module that was asked for. */
export function holderOf(tensors: Tensors, weight: WantedWeight, index: number): Holder {
  const [module, suffix] = split(weight.names[index]!);
  const kinds = suffix === 'weight' ? KINDS : [suffix];
  const own = { ...spelling(tensors, module), rows: undefined };
  if (kinds.some(own.tensor)) return own;
  const fused = fusedOf(weight, index);
  const holders: Holder[] = [{ name: module, rows: undefined }, ...(fused ? [fused] : [])].flatMap(
    ({ name, rows }) =>
      [spelling(tensors, name), ...stacks(tensors, weight, index, name)].map((way) => ({ ...way, rows })),
  );
  return holders.find(({ tensor }) => kinds.some(tensor)) ?? own;
}

const spelling = (tensors: Tensors, name: string, expert?: number): Spelling => ({
  name,
  expert,
  tensor: (suffix) => tensors.get(`${name}.${suffix}`),
});

/** The stacks that may hold `X.experts.E.Y`. */
function stacks(tensors: Tensors, weight: WantedWeight, index: number, name: string): Spelling[] {
  if (weight.role !== 'expert') return [];
  const expert = Math.floor(index / ((weight.names.length * weight.unitRows) / weight.rows));
  const own = `experts.${expert}.`;
  const at = name.lastIndexOf(own);
  const [before, projection] = [name.slice(0, at), name.slice(at + own.length)];
  const bare = `${before}experts.${projection}`;
  return [
    spelling(tensors, `${before}switch_mlp.${projection}`, expert),
    spelling(tensors, bare, expert),
    // A parameter, not a module: what would be `.weight_scale_inv` is `_scale_inv`.
    { name: bare, expert, tensor: (suffix) => tensors.get(`${bare}${`_${suffix}`.replace(/^_weight/, '')}`) },
  ];
}

/** The matrix that would hold this one beside its neighbours, and where. */
function fusedOf({ names, rowsOf }: WantedWeight, index: number): { name: string; rows: Rows } | undefined {
  const [module, suffix] = split(names[index]!);
  const [path, projection] = split(module);
  const found = FUSED.find(([parts]) => parts.includes(projection));
  if (!found) return undefined;
  const [parts, whole] = found;
  const first = index - parts.indexOf(projection);
  if (parts.some((part, i) => names[first + i] !== `${path}.${part}.${suffix}`)) return undefined;
  const sizes = rowsOf.slice(first, first + parts.length);
  const sum = (counts: readonly number[]): number => counts.reduce((a, b) => a + b, 0);
  const begin = sum(sizes.slice(0, index - first));
  return { name: `${path}.${whole}`, rows: { begin, end: begin + rowsOf[index]!, of: sum(sizes) } };
}

/** Of the holder's tensor `suffix` the part that is of this matrix. @throws WeightMismatchError | UnsupportedConfigError */
export function heldTensor(holder: Holder, suffix: string): TensorEntry | undefined {
  const whole = holder.tensor(suffix);
  if (!whole) return undefined;
  const one = holder.expert === undefined ? whole : expertOf(holder, whole, holder.expert);
  return holder.rows && suffix !== 'weight_shape' ? rowsOf(one, holder.rows, suffix) : one;
}

/** The tensor that has vector `index` of a weight, with all that it holds. */
export function vectorHolder(tensors: Tensors, weight: WantedWeight, index: number): TensorEntry | undefined {
  const [, suffix] = split(weight.names[index]!);
  return holderOf(tensors, weight, index).tensor(suffix);
}

/** Vector `index` of a weight, under its own name. */
export function heldVector(tensors: Tensors, weight: WantedWeight, index: number): TensorEntry | undefined {
  const name = weight.names[index]!;
  const found = heldTensor(holderOf(tensors, weight, index), split(name)[1]);
  return found && { ...found, name };
}

/** Matrix `expert` of a stack. */
function expertOf({ tensor }: Holder, whole: TensorEntry, expert: number): TensorEntry {
  const [count = 0, ...rest] = whole.shape;
  const first = KINDS.map(tensor).find((found) => found !== undefined);
  if (first && first.shape[0] !== count) {
    throw new WeightMismatchError(
      `${whole.name} has shape [${whole.shape}] and ${first.name} [${first.shape}]: one for each expert is wanted. Download the checkpoint again.`,
    );
  }
  return partOf(whole, `[${expert}]`, expert, expert + 1, rest);
}

/** Rows of a matrix, of its scales for every row or block of rows, or of what all rows have. */
function rowsOf(tensor: TensorEntry, { begin, end, of }: Rows, suffix: string): TensorEntry {
  const [count = 1, ...rest] = tensor.shape;
  if (tensor.shape.every((n) => n === 1)) return tensor;
  // Zero points of compressed-tensors are packed into words along the rows.
  const together = suffix === 'weight_zero_point' ? [8, 4] : [1, FP8_BLOCK];
  const each = together.find((each) => Math.ceil(of / each) === count);
  if (each === undefined && rest.length > 0 && suffix === 'weight') {
    throw new WeightMismatchError(
      `${tensor.name} has shape [${tensor.shape}], config.json wants ${of} rows. Check that config.json belongs to these weights.`,
    );
  }
  const [first, last] = [Math.floor(begin / (each ?? 1)), Math.ceil(end / (each ?? 1))];
  if (each === undefined || (first * each !== begin && last - first > 1)) {
    throw new UnsupportedConfigError(
      `${tensor.name} has shape [${tensor.shape}], of which rows ${begin} to ${end} of ${of} cannot be read by themselves. ` +
        'Choose a checkpoint that is not quantised, or by rows (float8, MLX, compressed-tensors).',
    );
  }
  return partOf(tensor, `[${begin}:${end}]`, first, last, [last - first, ...rest]);
}

/** Some of the matrices or rows that a tensor counts first. */
function partOf(
  whole: TensorEntry,
  which: string,
  first: number,
  last: number,
  partShape: readonly number[],
): TensorEntry {
  const { name, shape, begin, end } = whole;
  const bytes = (end - begin) / shape[0]!;
  return {
    ...whole,
    name: `${name}${which}`,
    shape: [...partShape],
    begin: begin + first * bytes,
    end: begin + last * bytes,
  };
}
