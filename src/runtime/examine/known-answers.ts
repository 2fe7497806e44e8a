/**
 * @file What hot ops must give, by plain loops in float64 on inputs that the host chose and weights as the GPU has them: some
 * outputs of every kind of place, since all would take the host seconds. It knows the arithmetic of ops and how attention is split,
 * no kernel.
 */
import { numSplits } from '../../../kernels/attention/split.ts';
import type { GpuContext } from '../../gpu/device.ts';
import { splitRows } from '../../gpu/kernel.ts';
import { type Activation, activate } from '../../graph/activation.ts';
import { BLOCK_LENGTH } from '../../graph/batch.ts';
import { baseOf, rowSize, type Tensor } from '../../graph/graph.ts';
import type { AttendOp, AttendSplitOp } from '../../graph/ops/attention.ts';
import type { ExpertLinearOp } from '../../graph/ops/experts.ts';
import type { LinearOp } from '../../graph/ops/linear.ts';
import type { Weight } from '../../graph/weight.ts';
import { f16Value } from '../../weights/decode.ts';
import type { GpuWeights } from '../../weights/upload.ts';
import { type HotOp, type LoneOp, readWeightRows } from './lone-op.ts';

/**
 * Errors of float32 sums, in units of the sum of magnitudes: 1e-6 at the worst for any order of adding. A product that is left out of
 * thousands shows above this, and so does a wrong row, scale or lane.
 */
const TOLERANCE = 5e-5;
/** Positions before the rows of attention: more than a tile of any kernel, and no multiple of one. */
const POSITIONS = 70;
/** One more than a tile of rows has. */
const MAX_ROWS = 33;
const MAX_ATTEND_ROWS = 9;
/** Output columns that are checked beside those at the edges. */
const RANDOM_COLUMNS = 8;

/** One value that a kernel wrote, what it should be, and the sum of magnitudes behind it. */
interface Answer {
  readonly place: string;
  readonly found: number;
  readonly wanted: number;
  readonly magnitude: number;
}

/** Positions that the caches of a run must have. */
export const positionsOf = (op: HotOp): number =>
  op.kind === 'attend' || op.kind === 'attendSplit' ? positionOf(op) + attendRows(op) : 1;

const attendRows = ({ inputs: { q, batch } }: AttendOp | AttendSplitOp): number =>
  Math.min(MAX_ATTEND_ROWS, q.shape[0]!, batch.graph.layout.capacity);
const positionOf = (op: AttendOp | AttendSplitOp): number =>
  Math.min(POSITIONS, op.inputs.batch.graph.layout.capacity - attendRows(op));

/** Runs the op once. What is wrong with its outputs, or undefined: nothing that was looked at. */
export async function checkAnswers(
  gpu: GpuContext,
  weights: GpuWeights,
  original: HotOp,
  run: LoneOp,
): Promise<string | undefined> {
  const random = createRandom();
  for (const answer of await answersOf(gpu, weights, original, run, random)) {
    const { place, found, wanted, magnitude } = answer;
    // A checkpoint may hold infinities.
    if (!Number.isFinite(wanted)) continue;
    if (!(Math.abs(found - wanted) <= TOLERANCE * magnitude)) return `${place} is ${found}, wanted ${wanted}`;
  }
  return undefined;
}

async function answersOf(
  gpu: GpuContext,
  weights: GpuWeights,
  original: HotOp,
  run: LoneOp,
  random: Random,
): Promise<Answer[]> {
  switch (original.kind) {
    case 'linear':
      return linearAnswers(gpu, weights, run as LoneOp<LinearOp>, random);
    case 'expertLinear':
      return expertAnswers(gpu, weights, run as LoneOp<ExpertLinearOp>, random);
    default:
      return attendAnswers(original, run as LoneOp<AttendOp | AttendSplitOp>, random);
  }
}

async function linearAnswers(
  gpu: GpuContext,
  weights: GpuWeights,
  run: LoneOp<LinearOp>,
  random: Random,
): Promise<Answer[]> {
  const { inputs, attrs, outputs } = run.op;
  const { weight, bias, norm } = run.op.weights;
  const rows = Math.min(MAX_ROWS, inputs.x.shape[0]!);
  const { gate, scale } = attrs;
  const numOut = rowSize(outputs.out);
  const each = gate ? 2 : 1;
  const edges = splitRows(weight, gpu.traits.maxBindingBytes).flatMap(({ begin, rows: n }) => [
    begin,
    begin + n - 1,
  ]);
  const columns = [
    ...edges.map((row) => Math.floor(row / each)),
    ...Array.from({ length: RANDOM_COLUMNS }, () => Math.floor(random.uniform() * numOut)),
  ];
  const wantedRows = columns.flatMap((n) => Array.from({ length: each }, (_, i) => each * n + i));
  const values = await readWeightRows(gpu, weights, weight, wantedRows);
  if (!values) return [];
  const vector = async (of: Weight | undefined): Promise<Float64Array | undefined> =>
    of && (await readWeightRows(gpu, weights, of, [0]))?.get(0);
  const [biases, scales] = [await vector(bias), await vector(norm)];
  const x = random.normals(rows * weight.cols);
  const residual = inputs.residual && random.normals(rows * numOut);
  run.write(inputs.x, x);
  if (inputs.residual) run.write(inputs.residual, residual!);
  run.submit({ rows, position: 0 });
  const found = await run.read(outputs.out, rows);
  const answers: Answer[] = [];
  for (let r = 0; r < rows; r++) {
    const input = normalised(x.subarray(r * weight.cols, (r + 1) * weight.cols), scales, attrs.eps);
    const product = (n: number): Sum => dot(values.get(n)!, input, biases?.[n] ?? 0);
    for (const n of columns) {
      const y = gate ? gated(gate, product(2 * n), product(2 * n + 1)) : product(n);
      const added = residual?.[r * numOut + n] ?? 0;
      answers.push({
        place: `out[${r}, ${n}]`,
        found: found[r * numOut + n]!,
        wanted: scale * y.sum + added,
        magnitude: Math.abs(scale) * y.magnitude + Math.abs(added),
      });
    }
  }
  return answers;
}

async function expertAnswers(
  gpu: GpuContext,
  weights: GpuWeights,
  run: LoneOp<ExpertLinearOp>,
  random: Random,
): Promise<Answer[]> {
  const { inputs, attrs, outputs } = run.op;
  const { weight, norm } = run.op.weights;
  const { unitRows, cols } = weight;
  const rows = Math.min(MAX_ROWS, inputs.x.shape[0]!);
  const k = rowSize(inputs.experts);
  const isShared = inputs.x.shape.length === 2;
  const { gate } = attrs;
  const numOut = gate ? unitRows / 2 : unitRows;
  const numExperts = weight.rows / unitRows;
  // Neighbours from anywhere on: different experts in a row, shared ones among rows.
  const experts = Array.from({ length: rows }, () => Math.floor(random.uniform() * numExperts)).flatMap(
    (first) => Array.from({ length: k }, (_, s) => (first + s) % numExperts),
  );
  const x = random.normals(rows * (isShared ? 1 : k) * cols);
  const scales = inputs.scales && random.normals(rows * k);
  const residual = inputs.residual && random.normals(rows * numOut);
  run.write(inputs.x, x);
  run.write(inputs.experts, experts);
  if (inputs.scales) run.write(inputs.scales, scales!);
  if (inputs.residual) run.write(inputs.residual, residual!);
  const columns = [
    0,
    numOut - 1,
    Math.floor(random.uniform() * numOut),
    Math.floor(random.uniform() * numOut),
  ];
  const checked = [...new Set([0, rows - 1])];
  const wantedRows = checked.flatMap((r) =>
    experts
      .slice(r * k, (r + 1) * k)
      .flatMap((expert) =>
        columns.flatMap((n) => (gate ? [2 * n, 2 * n + 1] : [n]).map((row) => expert * unitRows + row)),
      ),
  );
  const values = await readWeightRows(gpu, weights, weight, wantedRows);
  if (!values) return [];
  const norms = norm && (await readWeightRows(gpu, weights, norm, [0]))?.get(0);
  run.submit({ rows, position: 0 });
  const found = await run.read(outputs.out, rows);
  const answers: Answer[] = [];
  for (const r of checked) {
    for (const n of columns) {
      const added = residual?.[r * numOut + n] ?? 0;
      const total = { sum: added, magnitude: Math.abs(added) };
      for (let s = 0; s < k; s++) {
        const begin = (isShared ? r : r * k + s) * cols;
        const input = normalised(x.subarray(begin, begin + cols), norms, attrs.eps);
        const product = (row: number): Sum =>
          dot(values.get(experts[r * k + s]! * unitRows + row)!, input, 0);
        const y = gate ? gated(gate, product(2 * n), product(2 * n + 1)) : product(n);
        if (scales) {
          total.sum += scales[r * k + s]! * y.sum;
          total.magnitude += Math.abs(scales[r * k + s]!) * y.magnitude;
        } else {
          const at = (r * k + s) * numOut + n;
          answers.push({
            place: `out[${r}, ${s}, ${n}]`,
            found: found[at]!,
            wanted: y.sum,
            magnitude: y.magnitude,
          });
        }
      }
      if (scales) {
        answers.push({
          place: `out[${r}, ${n}]`,
          found: found[r * numOut + n]!,
          wanted: total.sum,
          magnitude: total.magnitude,
        });
      }
    }
  }
  return answers;
}

async function attendAnswers(
  original: AttendOp | AttendSplitOp,
  run: LoneOp<AttendOp | AttendSplitOp>,
  random: Random,
): Promise<Answer[]> {
  const { q, keys, values } = run.op.inputs;
  const rows = attendRows(original);
  const position = positionOf(original);
  const [heads, kDim] = q.shape.slice(1) as [number, number];
  const [kvHeads, vDim] = values.shape.slice(1) as [number, number];
  const queries = random.normals(rows * heads * kDim);
  run.write(q, queries);
  const numBlocks = Math.ceil((position + rows) / BLOCK_LENGTH);
  const cached = random.cached(baseOf(keys), numBlocks);
  run.writeCache(keys, cached.bytes);
  // Latent attention has keys and values in one cache.
  const isOneCache = baseOf(values) === baseOf(keys);
  const own = isOneCache ? cached : random.cached(baseOf(values), numBlocks);
  if (!isOneCache) run.writeCache(values, own.bytes);
  run.submit({ rows, position });
  const { op } = run;
  const isSplit = op.kind === 'attendSplit';
  const found = await run.read(isSplit ? op.outputs.partials : op.outputs.out, rows);
  const { workgroups } = run.executor;
  const { window } = op.attrs;
  const answers: Answer[] = [];
  for (const r of new Set([0, rows - 1])) {
    for (const h of new Set([0, heads >> 1, heads - 1])) {
      const kvHead = Math.floor((h * kvHeads) / heads);
      const query = queries.subarray((r * heads + h) * kDim, (r * heads + h + 1) * kDim);
      const context = position + r + 1;
      const from = window === undefined ? 0 : Math.max(0, context - window);
      const scores = Array.from({ length: context }, (_, t) => {
        if (t < from) return Number.NEGATIVE_INFINITY;
        const begin = keys.offset + t * keys.rowStride + kvHead * kDim;
        return original.attrs.scale * dot(cached.values.subarray(begin, begin + kDim), query, 0).sum;
      });
      const largest = Math.max(...scores);
      const shares = scores.map((score) => Math.exp(score - largest));
      const whole = shares.reduce((a, b) => a + b, 0);
      const merged = isSplit
        ? merge(op, numSplits(op.attrs, { context, workgroups }), found, r, h)
        : undefined;
      for (let d = 0; d < vDim; d++) {
        const sum = { sum: 0, magnitude: 0 };
        shares.forEach((share, t) => {
          const value =
            (share / whole) * own.values[values.offset + t * values.rowStride + kvHead * vDim + d]!;
          sum.sum += value;
          sum.magnitude += Math.abs(value);
        });
        const written = merged ? merged[d]! : found[(r * heads + h) * vDim + d]!;
        answers.push({
          place: `out[${r}, ${h}, ${d}]`,
          found: written,
          wanted: sum.sum,
          magnitude: sum.magnitude,
        });
      }
    }
  }
  return answers;
}

/** Partial results of all splits of a row and head, brought to one scale. */
function merge(
  { inputs, outputs }: AttendSplitOp,
  splits: number,
  partials: Float32Array,
  row: number,
  head: number,
): number[] {
  const vDim = inputs.values.shape[2]!;
  const [heads, maxSplits, width] = outputs.partials.shape.slice(1) as [number, number, number];
  const parts = Array.from({ length: splits }, (_, split) => {
    const begin = ((row * heads + head) * maxSplits + split) * width;
    return partials.subarray(begin, begin + width);
  });
  const largest = Math.max(...parts.map((part) => part[vDim]!));
  const shares = parts.map((part) => 2 ** (part[vDim]! - largest));
  const whole = parts.reduce((sum, part, i) => sum + shares[i]! * part[vDim + 1]!, 0);
  return Array.from(
    { length: vDim },
    (_, d) => parts.reduce((sum, part, i) => sum + shares[i]! * part[d]!, 0) / whole,
  );
}

interface Sum {
  readonly sum: number;
  readonly magnitude: number;
}

function dot(a: ArrayLike<number>, b: ArrayLike<number>, first: number): Sum {
  let [sum, magnitude] = [first, Math.abs(first)];
  for (let i = 0; i < b.length; i++) {
    const product = a[i]! * b[i]!;
    sum += product;
    magnitude += Math.abs(product);
  }
  return { sum, magnitude };
}

/** An error of the gate grows by at most 1.13, the steepest slope of an activation, times up; one of up by the activated gate. */
function gated(activation: Activation, gate: Sum, up: Sum): Sum {
  return {
    sum: activate[activation](gate.sum) * up.sum,
    magnitude: 2.13 * gate.magnitude * up.magnitude,
  };
}

function normalised(
  x: Float32Array,
  norm: Float64Array | undefined,
  eps: number,
): Float32Array | Float64Array {
  if (!norm) return x;
  const squares = x.reduce((sum, value) => sum + value * value, 0);
  const scale = 1 / Math.sqrt(squares / x.length + eps);
  return Float64Array.from(x, (value, i) => value * scale * norm[i]!);
}

export interface Random {
  uniform(): number;
  normals(length: number): Float32Array;
  /** What some blocks of a cache hold: bytes to write, and what they mean. */
  cached(cache: Tensor, numBlocks: number): { bytes: Uint8Array<ArrayBuffer>; values: Float64Array };
}

/** Always the same numbers: a kernel that is right stays so. */
export function createRandom(): Random {
  let state = 1;
  const uniform = (): number => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
  // The sum of some uniform numbers is near enough.
  const normal = (): number => 2 * (uniform() + uniform() + uniform() - 1.5);
  return {
    uniform,
    normals: (length) => Float32Array.from({ length }, normal),
    cached(cache, numBlocks) {
      const { dtype, rowStride } = cache;
      const length = numBlocks * BLOCK_LENGTH * rowStride;
      if (dtype === 'int8') return cachedInt8(cache, numBlocks, uniform);
      const words =
        dtype === 'f16'
          ? // Both signs, from 1/16 to 2.
            Uint16Array.from(
              { length },
              () => 0x2c00 + Math.floor(uniform() * 0x1400) + (uniform() < 0.5 ? 0x8000 : 0),
            )
          : Float32Array.from({ length }, normal);
      return {
        bytes: new Uint8Array(words.buffer),
        values: Float64Array.from(words as ArrayLike<number>, dtype === 'f16' ? f16Value : (value) => value),
      };
    },
  };
}

/** Blocks of integers, each followed by the scales of its places and heads: value = scale * integer / 127. */
function cachedInt8(
  { rowStride, shape }: Tensor,
  numBlocks: number,
  uniform: () => number,
): { bytes: Uint8Array<ArrayBuffer>; values: Float64Array } {
  const [, heads, dim] = shape as [number, number, number];
  const blockValues = BLOCK_LENGTH * rowStride;
  const blockBytes = blockValues + 4 * BLOCK_LENGTH * heads;
  const bytes = new Uint8Array(numBlocks * blockBytes);
  const integers = new Int8Array(bytes.buffer);
  const values = new Float64Array(numBlocks * blockValues);
  for (let block = 0; block < numBlocks; block++) {
    const scales = new Float32Array(bytes.buffer, block * blockBytes + blockValues, BLOCK_LENGTH * heads);
    scales.forEach((_, i) => {
      scales[i] = 0.5 + uniform();
    });
    for (let i = 0; i < blockValues; i++) {
      const integer = Math.floor(uniform() * 255) - 127;
      integers[block * blockBytes + i] = integer;
      const head = Math.min(heads - 1, Math.floor((i % rowStride) / dim));
      values[block * blockValues + i] = (scales[Math.floor(i / rowStride) * heads + head]! * integer) / 127;
    }
  }
  return { bytes, values };
}
