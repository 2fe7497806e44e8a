/**
 * @file What a kernel is, and how its WGSL is put together: prelude (constants, bindings) + parts + body, through
 * wgsl-preprocessor for `#if`. Maps a line of the result back to the file it came from. Knows no device, op or model;
 * kernels import their types from here.
 */
import { wgsl as preprocess } from 'wgsl-preprocessor/wgsl-preprocessor.js';
import { DeviceLimitError, ShaderCompileError } from '../errors.ts';
import type { Op, OpKind, OpOf, Tensor } from '../graph/graph.ts';
import type { Weight, WgslFile } from '../graph/weight.ts';

export type { WgslFile } from '../graph/weight.ts';

/** What a kernel may depend on when it chooses its shape. */
export interface DeviceTraits {
  readonly f16: boolean;
  readonly subgroups: boolean;
  /** Sizes that a subgroup may have (4 to 128 exist); never assume one. */
  readonly subgroupMinSize: number;
  readonly subgroupMaxSize: number;
  readonly maxBindingBytes: number;
  readonly maxWorkgroupBytes: number;
  readonly maxWorkgroupInvocations: number;
  readonly maxGridSize: number;
}

/** The numbers of a batch that no kernel is compiled for; those that WGSL needs are bound to every kernel as `batch`. */
export interface BatchCounts {
  /** Rows that count, at most those that the program was recorded for. */
  readonly rows: number;
  /** Sequences that have them. */
  readonly sequences: number;
  /** Rows of the sequence that has most. */
  readonly rounds: number;
  /** Positions up to the row that stands furthest in its sequence. */
  readonly context: number;
  /** Workgroups that fill the device: attention of few rows cuts a long context into so many. */
  readonly workgroups: number;
}

export type Grid = readonly [x: number, y: number, z: number];

/** Rows [begin, begin + rows) of a weight that one buffer holds: big matrices are split by rows to fit a binding. */
export interface WeightPart {
  readonly index: number;
  readonly begin: number;
  readonly rows: number;
}

export interface TensorBinding {
  readonly tensor: Tensor;
  /** WGSL element type of the storage array: `f32`, `vec4<f32>`, `u32`. */
  readonly type: string;
  readonly access?: 'read' | 'read_write';
}

export interface WeightBinding {
  readonly weight: Weight;
  readonly section: string;
  readonly type: string;
}

export type Binding = TensorBinding | WeightBinding;

/** A constant of the prelude: a number is u32, `f32(x)` a float, a boolean a bool. */
export type Const = number | boolean | { readonly f32: number };
export const f32 = (value: number): Const => ({ f32: value });

/** What a pipeline is compiled from. */
export interface ShaderSource {
  readonly body: WgslFile;
  /** Fragments put before the body: weight format, reduction, epilogue. */
  readonly parts?: readonly WgslFile[];
  /** Names that `#if NAME` of body and parts may test. */
  readonly flags?: Readonly<Record<string, boolean>>;
  readonly consts?: Readonly<Record<string, Const>>;
  readonly aliases?: Readonly<Record<string, string>>;
  readonly enables?: readonly ('f16' | 'subgroups')[];
  /** For kernels outside of passes: binding 0 is not `batch` but `params`, u32 numbers with these names. */
  readonly params?: readonly string[];
  /** In the order of their binding numbers, from 1. */
  readonly bindings: Readonly<Record<string, Pick<TensorBinding, 'type' | 'access'>>>;
}

/** One dispatch of a kernel in a pass, ready to assemble. */
export interface KernelSource extends ShaderSource {
  readonly params?: never;
  readonly bindings: Readonly<Record<string, Binding>>;
  /** Workgroups of a batch; must depend on its counts alone. A tensor: the GPU itself wrote them to its first three words. */
  readonly grid: ((batch: BatchCounts) => Grid) | Tensor;
}

export interface BuildContext {
  readonly device: DeviceTraits;
  /** The rows of the op's matrix that this dispatch has; the whole op when it has no matrix. */
  readonly part: WeightPart;
}

/** One way to compute an op. The list of an op is ordered: the first whose `when` holds is used. */
export interface KernelVariant<K extends OpKind = OpKind> {
  readonly name: string;
  when(op: OpOf<K>, device: DeviceTraits): boolean;
  build(op: OpOf<K>, context: BuildContext): KernelSource;
}

/** The kernels of ops by kind; of those at least that a program has. */
export type KernelTable = { readonly [K in OpKind]?: readonly KernelVariant<K>[] };

export const wgslFile = (file: string, text: string): WgslFile => ({ file, text });

/** The bindings of a matrix: every section of its format, as `weight_<section>`. */
export function weightBindings(weight: Weight): Record<string, WeightBinding> {
  return Object.fromEntries(
    weight.format.sections.map((s) => [`weight_${s.name}`, { weight, section: s.name, type: s.type }]),
  );
}

/** The binding of a vector (a norm, a bias): f32, padded with zeros to a multiple of 4. */
export const vectorBinding = (weight: Weight): WeightBinding => ({
  weight,
  section: 'data',
  type: 'vec4<f32>',
});

/** The matrix of an op, if it has one: the weight in the role `weight`. It may be split by rows, a dispatch for each part. */
export function matrixOf(op: Op): Weight | undefined {
  return 'weight' in op.weights ? op.weights.weight : undefined;
}

/** Boundaries between parts are multiples of this, so that a tile never crosses one. */
const PART_ROWS = 256;

/** What is left when not even PART_ROWS fit: kernels may write the outputs of four rows at once. */
const LEAST_PART_ROWS = 4;

/**
 * Splits a weight by rows so that every section of a part fits one binding. Every part begins at a multiple of 4, and at a
 * unit where the weight has units.
 * @throws DeviceLimitError when a unit fits no binding
 */
export function splitRows(weight: Weight, maxBindingBytes: number): WeightPart[] {
  const rowBytes = Math.max(...weight.format.sections.map((s) => s.rowBytes(weight.cols)));
  const fitting = Math.floor(maxBindingBytes / rowBytes);
  const { unitRows } = weight;
  if (unitRows > 1 && fitting < unitRows) {
    throw new DeviceLimitError(
      `${weight.key} has ${unitRows} rows of ${rowBytes} bytes that one binding must hold, this device binds at most ${maxBindingBytes} bytes. Choose a checkpoint with smaller weights.`,
    );
  }
  const few = unitRows > 1 ? unitRows : LEAST_PART_ROWS;
  const many = unitRows > 1 ? unitRows : PART_ROWS;
  const whole = (n: number, of: number): number => Math.floor(n / of) * of;
  const step =
    fitting >= weight.rows ? weight.rows : Math.max(few, whole(fitting, many) || whole(fitting, few));
  const parts: WeightPart[] = [];
  for (let begin = 0; begin < weight.rows; begin += step) {
    parts.push({ index: parts.length, begin, rows: Math.min(step, weight.rows - begin) });
  }
  return parts;
}

/** `zero` is 0, which compilers do not know: a loop that begins there is not unrolled. */
const BATCH = `struct Batch { rows: u32, sequences: u32, workgroups: u32, zero: u32 }
@group(0) @binding(0) var<uniform> batch: Batch;
`;

const paramsUniform = (names: readonly string[]): string =>
  `struct Params { ${names.map((name) => `${name}: u32`).join(', ')} }
@group(0) @binding(0) var<uniform> params: Params;
`;

/** Assembled WGSL, and for each of its lines where it came from. */
export interface AssembledKernel {
  readonly code: string;
  readonly origins: readonly string[];
}

/** Joins prelude, parts and body into one module. */
export function assemble(source: ShaderSource): AssembledKernel {
  const files = [wgslFile('prelude', prelude(source)), ...(source.parts ?? []), source.body];
  // Every line carries its origin as a trailing comment through the preprocessor, which drops whole lines.
  const marked = files
    .map((f, i) =>
      f.text
        .trimEnd()
        .split('\n')
        .map((line, n) => `${line} //@${i}:${n + 1}`)
        .join('\n'),
    )
    .join('\n');
  const lines = resolveConditions(marked, source).split('\n');
  const origins = lines.map((line) => {
    const mark = line.match(/\/\/@(\d+):(\d+)\s*$/);
    return mark ? `${files[Number(mark[1])]!.file}:${mark[2]}` : 'unknown';
  });
  return { code: lines.map((line) => line.replace(/\s*\/\/@\d+:\d+/g, '')).join('\n'), origins };
}

const textIds = new Map<string, number>();

function textId(text: string): number {
  const id = textIds.get(text) ?? textIds.size;
  textIds.set(text, id);
  return id;
}

/** Equal for sources that `assemble` makes the same code of. Much cheaper than the code. */
export function sourceKey({
  body,
  parts = [],
  flags,
  consts,
  aliases,
  enables,
  params,
  bindings,
}: ShaderSource): string {
  const bound = Object.entries(bindings).map(([name, b]) => [name, b.type, b.access]);
  const files = [...parts, body].map(({ text }) => textId(text));
  return JSON.stringify([files, flags, consts, aliases, enables, params, bound]);
}

/** `#if NAME` and `#elif NAME` (or `!NAME`) on the flags of the source. A name that is not a flag is a mistake in the kernel. */
function resolveConditions(text: string, source: ShaderSource): string {
  const strings: string[] = [];
  const values: boolean[] = [];
  let rest = 0;
  for (const match of text.matchAll(/(#(?:if|elif) +)(!?)(\w+)/g)) {
    const flag = source.flags?.[match[3]!];
    if (flag === undefined) {
      throw new ShaderCompileError(
        `${source.body.file}: #if ${match[3]} names no flag; flags are ${Object.keys(source.flags ?? {}).join(', ') || 'none'}`,
      );
    }
    const end = match.index + match[1]!.length;
    strings.push(text.slice(rest, end));
    values.push(match[2] === '!' ? !flag : flag);
    rest = match.index + match[0].length;
  }
  strings.push(text.slice(rest));
  return preprocess(strings, ...values);
}

function prelude(source: ShaderSource): string {
  const enables = (source.enables ?? []).map((e) => `enable ${e};\n`).join('');
  const aliases = Object.entries(source.aliases ?? {}).map(([name, type]) => `alias ${name} = ${type};\n`);
  const consts = Object.entries(source.consts ?? {}).map(
    ([name, value]) => `const ${name}${constant(name, value)};\n`,
  );
  const bindings = Object.entries(source.bindings).map(
    ([name, { type, access = 'read' }], i) =>
      `@group(0) @binding(${i + 1}) var<storage, ${access}> ${name}: array<${type}>;\n`,
  );
  const uniform = source.params ? paramsUniform(source.params) : BATCH;
  return `${enables}${uniform}${aliases.join('')}${consts.join('')}${bindings.join('')}`;
}

function constant(name: string, value: Const): string {
  if (typeof value === 'boolean') return `: bool = ${value}`;
  const number = typeof value === 'number' ? value : value.f32;
  if (!Number.isFinite(number))
    throw new ShaderCompileError(`constant ${name} must be finite, found ${number}`);
  if (typeof value !== 'number') return `: f32 = ${Math.fround(number).toExponential()}f`;
  if (!Number.isInteger(number) || number < 0) {
    throw new ShaderCompileError(
      `constant ${name} must be a natural number, found ${number}; use f32() for floats`,
    );
  }
  return `: u32 = ${number}u`;
}
