import { describe, expect, it } from 'vitest';
import { expertLinear as variants } from '../../kernels/experts/expert-linear.ts';
import { splitRows } from '../../src/gpu/kernel.ts';
import type { Activation } from '../../src/graph/activation.ts';
import { createGraph, createTensor, type Tensor, viewColumns } from '../../src/graph/graph.ts';
import { EXPERT_TILE } from '../../src/graph/lower.ts';
import { FEW_ROWS } from '../../src/graph/op-list.ts';
import { add, gate } from '../../src/graph/ops/elementwise.ts';
import { combineExperts, expertLinear, route } from '../../src/graph/ops/experts.ts';
import { linear } from '../../src/graph/ops/linear.ts';
import { rmsNorm } from '../../src/graph/ops/norm.ts';
import { rewrite } from '../../src/graph/rewrite.ts';
import { Weights } from '../../src/graph/weight.ts';
import { formats } from '../../src/weights/formats.ts';
import { groupEntries, expertLinear as reference } from '../reference/expert-linear.ts';
import { packers } from '../reference/formats.ts';
import { expectRows } from './expect-rows.ts';
import { freshSeed, leastDevice, POISON, randomNormal, runVariants, seededRandom } from './harness.ts';

interface Case {
  rows: number;
  /** Rows of the batch; all when left out. */
  stepRows?: number;
  k: number;
  numExperts: number;
  cols: number;
  unitRows: number;
  /** Every slot has an x of its own. */
  hasSlots?: boolean;
  norm?: boolean;
  gate?: Activation;
  /** Slots are added up by scales, or so and with a residual. */
  sum?: 'plain' | 'residual';
  /** x is a view of the columns from here on of wider rows. */
  viewAt?: number;
  /** Experts that one binding holds. */
  partExperts?: number;
  /** Experts that may be chosen; all when left out. */
  chosen?: readonly number[];
  /** Column tiles of the grid beyond those of this op. */
  moreColumnTiles?: number;
  /** Changes the inputs after they were drawn. */
  spoil?(inputs: { x: Float32Array; scales: Float32Array; experts: Uint32Array }): void;
}

/** As in the tests of `linear`; a sum over slots is one longer sum of such products. */
const TOLERANCE = 2e-6;

const matvec = ['matvec-waves', 'matvec-subgroups', 'matvec'];
const sum = ['sum-waves', 'sum-subgroups', 'sum'];
const tile = ['tile-f16', 'tile'];

/** `k` different experts for each row. */
function chooseExperts(random: () => number, { rows, k, numExperts, chosen }: Case): Uint32Array {
  const among = chosen ?? Array.from({ length: numExperts }, (_, e) => e);
  return Uint32Array.from(
    Array.from({ length: rows }, () => {
      const keys = among.map((expert) => ({ expert, key: random() }));
      return keys.sort((a, b) => a.key - b.key).slice(0, k);
    })
      .flat()
      .map(({ expert }) => expert),
  );
}

async function run(format: keyof typeof formats, c: Case, only: string[], seed: number) {
  const random = seededRandom(seed);
  const { rows, k, cols, unitRows, numExperts } = c;
  const stepRows = c.stepRows ?? rows;
  const outputs = c.gate ? unitRows / 2 : unitRows;
  const eps = 1e-5;
  const weightRows = numExperts * unitRows;
  const packed = packers[format]!(randomNormal(random, weightRows * cols, 0.5), weightRows, cols);
  const x = randomNormal(random, stepRows * (c.hasSlots ? k : 1) * cols);
  const experts = chooseExperts(random, { ...c, rows: stepRows });
  const norm = c.norm ? randomNormal(random, cols) : undefined;
  const scales = randomNormal(random, stepRows * k);
  const residual = c.sum === 'residual' ? randomNormal(random, stepRows * outputs) : undefined;
  c.spoil?.({ x, scales, experts });
  const columnTiles = Math.ceil(unitRows / EXPERT_TILE.tileCols) + (c.moreColumnTiles ?? 0);
  const groups = groupEntries(experts, EXPERT_TILE.tileRows, columnTiles);
  const isTiled = only.some((name) => tile.includes(name));
  const rowBytes = Math.max(...formats[format].sections.map((s) => s.rowBytes(cols)));
  const outcomes = await runVariants(variants, {
    resolve: ([name]) => (name === 'norm' ? formats.f32 : formats[format]),
    record(graph) {
      const w = new Weights(graph);
      const u32 = (shape: number[]): Tensor => createTensor(graph, shape, { dtype: 'u32' });
      const shape = c.hasSlots ? [k, cols] : [cols];
      const width = (c.hasSlots ? k : 1) * cols;
      graph.ops.push({
        kind: 'expertLinear',
        scope: 'test',
        inputs: {
          x:
            c.viewAt === undefined
              ? createTensor(graph, [rows, ...shape])
              : viewColumns(createTensor(graph, [rows, c.viewAt + width + 5]), c.viewAt, shape),
          experts: u32([rows, k]),
          ...(c.sum && { scales: createTensor(graph, [rows, k]) }),
          ...(residual && { residual: createTensor(graph, [rows, outputs]) }),
          ...(isTiled && {
            entries: u32([rows * k]),
            tiles: u32([rows * k, 4]),
            dispatch: u32([4]),
          }),
        },
        weights: {
          weight: w.experts(numExperts, ['m'], [unitRows], cols),
          norm: norm && w.vector(['norm'], [cols]),
        },
        attrs: {
          eps,
          gate: c.gate,
          tile: isTiled ? EXPERT_TILE : undefined,
        },
        outputs: { out: createTensor(graph, c.sum ? [rows, outputs] : [rows, k, outputs]) },
      });
    },
    data: { x, experts, scales, ...(residual && { residual }), ...groups },
    weights: { weight: packed.sections, ...(norm && { norm }) },
    batch: { rows: stepRows },
    ...(c.partExperts && { maxBindingBytes: c.partExperts * unitRows * rowBytes }),
    only,
  });
  const problem = {
    rows: stepRows,
    k,
    cols,
    unitRows,
    x,
    weight: packed.values,
    experts,
    norm,
    eps,
    gate: c.gate,
    scales: c.sum && scales,
    residual,
  };
  return { outcomes, problem };
}

async function check(format: keyof typeof formats, c: Case, only: string[]): Promise<void> {
  const seed = freshSeed();
  const { outcomes, problem } = await run(format, c, only, seed);
  const { out, magnitude } = reference(problem);
  for (const outcome of outcomes) {
    expectRows(outcome, 'out', { values: out, tolerance: (i) => TOLERANCE * magnitude[i]! }, seed);
  }
}

describe.for(Object.keys(formats) as (keyof typeof formats)[])('expertLinear over %s weights', (format) => {
  it('multiplies few rows by the experts of each, with all that can be folded in', async () => {
    const c = { rows: 3, stepRows: 2, k: 2, numExperts: 3, cols: 20, unitRows: 12 };
    await check(format, { ...c, norm: true, gate: 'silu' }, matvec);
  });

  it('adds up the experts of each row, from all parts of the weight', async () => {
    const c = { rows: 3, k: 4, numExperts: 8, cols: 40, unitRows: 20, hasSlots: true };
    await check(format, { ...c, sum: 'residual', partExperts: 5 }, sum);
  });

  it('multiplies many rows expert by expert, of which some do not count', async () => {
    const c = { rows: 13, stepRows: 11, k: 4, numExperts: 8, cols: 40, unitRows: 76 };
    await check(format, { ...c, gate: 'silu' }, tile);
  });
});

describe('expertLinear', () => {
  it('gives every slot its own x and its own row of the output', async () => {
    const c = { rows: 5, k: 2, numExperts: 16, cols: 136, unitRows: 20, hasSlots: true };
    await check('bf16', { ...c, viewAt: 8, partExperts: 6 }, matvec);
  });

  it('multiplies any number of rows without groups, on a grid of more than one row', async () => {
    // 552 entries of 128 workgroups each.
    await check('f32', { rows: 70, stepRows: 69, k: 8, numExperts: 16, cols: 20, unitRows: 512 }, ['matvec']);
  });

  it('adds up one expert, or eight of sixty, of one row', async () => {
    await check('bf16', { rows: 1, k: 1, numExperts: 3, cols: 20, unitRows: 36, sum: 'plain' }, sum);
    const c = { rows: 1, k: 8, numExperts: 60, cols: 136, unitRows: 8, hasSlots: true };
    await check('bf16', { ...c, sum: 'plain', partExperts: 32 }, ['sum-waves', 'sum']);
  });

  it('adds up few of the rows that were recorded', async () => {
    const c = { rows: 8, stepRows: 5, k: 2, numExperts: 3, cols: 20, unitRows: 12, hasSlots: true };
    await check('f32', { ...c, sum: 'residual' }, ['sum-waves', 'sum']);
  });

  it('joins tiles of several parts, of slots that each have an x', async () => {
    const c = { rows: 70, stepRows: 67, k: 8, numExperts: 16, cols: 136, unitRows: 76, hasSlots: true };
    await check('f32', { ...c, viewAt: 4, partExperts: 7, moreColumnTiles: 2 }, tile);
  });

  it('takes rows that all choose the same experts, and experts that nobody chooses', async () => {
    const c = { rows: 70, k: 2, numExperts: 60, cols: 20, unitRows: 12, chosen: [7, 58] };
    await check('f16', c, tile);
  });

  it('shows a NaN of x or of a scale in its row and in no other', async () => {
    const c = { rows: 5, k: 2, numExperts: 3, cols: 20, unitRows: 12, hasSlots: true };
    const spoil: Case['spoil'] = ({ x, scales }) => {
      x[c.cols * c.k * 3 + 5] = Number.NaN;
      scales[2] = Number.NaN;
    };
    await check('f32', { ...c, spoil }, matvec);
    await check('f32', { ...c, sum: 'plain', spoil }, sum);
    await check('f32', { ...c, rows: 13, spoil }, tile);
  });

  it('reads nothing and writes nothing for an expert that does not exist', async () => {
    const c = { rows: 5, k: 2, numExperts: 3, cols: 20, unitRows: 12, partExperts: 2 };
    const spoil: Case['spoil'] = ({ experts }) => experts.set([3, 2 ** 32 - 1], 4);
    const seed = freshSeed();
    const single = await run('f32', { ...c, spoil }, ['matvec-waves', 'matvec', 'tile'], seed);
    // The reference knows no expert 3: the two entries get any other, and must be poison instead.
    const experts = single.problem.experts.map((e, i) => (i === 4 || i === 5 ? 0 : e));
    const { out, magnitude } = reference({ ...single.problem, experts });
    out.fill(Number.NaN, 4 * c.unitRows, 6 * c.unitRows);
    for (const outcome of single.outcomes) {
      expectRows(outcome, 'out', { values: out, tolerance: (i) => TOLERANCE * magnitude[i]! }, seed);
      const left = new Uint32Array(outcome.outputs.out!.buffer).subarray(4 * c.unitRows, 6 * c.unitRows);
      expect(
        left.every((word) => word === POISON),
        `${outcome.label}, seed ${seed}`,
      ).toBe(true);
    }
    const added = await run('f32', { ...c, spoil, sum: 'plain' }, ['sum-waves', 'sum'], seed);
    const scales = added.problem.scales!.map((s, i) => (i === 4 || i === 5 ? 0 : s));
    const expected = reference({ ...added.problem, experts, scales });
    for (const outcome of added.outcomes) {
      const tolerance = (i: number): number => TOLERANCE * expected.magnitude[i]!;
      expectRows(outcome, 'out', { values: expected.out, tolerance }, seed);
    }
  });

  it('has a kernel on every device for all that fuse can record', () => {
    for (const rows of [1, FEW_ROWS, FEW_ROWS + 1, 256]) {
      const graph = createGraph(() => formats.fp8);
      const w = new Weights(graph);
      const x = createTensor(graph, [rows, 64]);
      const normed = rmsNorm(x, w.vector(['norm'], [64]), 1e-6);
      const routing = route(linear(normed, w.matrix(['gate'], [8], 64, { role: 'router' })), {
        k: 2,
        scoring: 'softmax',
        numGroups: 1,
        keptGroups: 1,
        groupBest: 1,
        normalize: true,
        scale: 1,
      });
      const gateUp = w.experts(8, ['gate_proj', 'up_proj'], [32, 32], 64, 'interleaved');
      const hidden = gate(expertLinear(normed, gateUp, routing), 'silu');
      const y = expertLinear(hidden, w.experts(8, ['down_proj'], [64], 32), routing);
      add(x, combineExperts(y, routing));
      rewrite(graph);
      const ops = graph.ops.filter((op) => op.kind === 'expertLinear');
      expect(ops).toHaveLength(2);
      for (const op of ops) {
        const variant = variants.find((v) => v.when(op, leastDevice))!;
        const [part] = splitRows(op.weights.weight, leastDevice.maxBindingBytes);
        const numBindings = Object.keys(
          variant.build(op, { device: leastDevice, part: part! }).bindings,
        ).length;
        expect(numBindings, `${rows} rows`).toBeLessThanOrEqual(8);
      }
    }
  });
});
