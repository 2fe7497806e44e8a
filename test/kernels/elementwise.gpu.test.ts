import { expect, it } from 'vitest';
import {
  add as addVariants,
  gate as gateVariants,
  lastRow as lastRowVariants,
  sigmoidGate as sigmoidGateVariants,
} from '../../kernels/elementwise/elementwise.ts';
import { type Activation, activate } from '../../src/graph/activation.ts';
import { createTensor, viewColumns } from '../../src/graph/graph.ts';
import { add, gate, lastRow, sigmoidGate } from '../../src/graph/ops/elementwise.ts';
import { add as addReference } from '../reference/add.ts';
import { gate as gateReference } from '../reference/gate.ts';
import { sigmoidGate as sigmoidGateReference } from '../reference/sigmoid-gate.ts';
import { expectRows } from './expect-rows.ts';
import { freshSeed, randomNormal, runVariants, seededRandom } from './harness.ts';

it('adds rows, of views as well', async () => {
  const seed = freshSeed();
  const random = seededRandom(seed);
  for (const cols of [1, 31, 260]) {
    const [a, b] = [randomNormal(random, 2 * cols), randomNormal(random, 2 * cols)];
    const outcomes = await runVariants(addVariants, {
      record(graph) {
        const wide = createTensor(graph, [3, cols + 9]);
        add(createTensor(graph, [3, cols]), viewColumns(wide, 8, [cols]));
      },
      data: { a, b },
      batch: { rows: 2 },
    });
    const values = addReference(a, b);
    // One float32 rounding of the sum.
    for (const o of outcomes)
      expectRows(o, 'out', { values, tolerance: (i) => 6e-8 * Math.abs(values[i]!) }, seed);
  }
});

const everyActivation = Object.keys(activate) as Activation[];

it.each(everyActivation)('multiplies %s of a gate by up, for gates of any size', async (activation) => {
  const seed = freshSeed();
  const random = seededRandom(seed);
  const cols = 35;
  const x = randomNormal(random, 2 * 2 * cols, 8);
  x.set([-1e4, 3, -100, 1e4, 1e4, 1, 0, 5, Number.NaN, 1], 10);
  const outcomes = await runVariants(gateVariants, {
    record: (graph) => gate(createTensor(graph, [3, 2 * cols]), activation),
    data: { x },
    batch: { rows: 2 },
  });
  const values = gateReference(x, activation);
  // exp is good to 3 + 2 |gate| units of float32 (WGSL), which what it is part of damps to about 3 relative to the gate.
  const tolerance = (i: number): number => 1e-6 * Math.abs(x[2 * i]! * x[2 * i + 1]!);
  for (const outcome of outcomes) expectRows(outcome, 'out', { values, tolerance }, seed);
  const [gates, up] = [0, 1].map((turn) => x.filter((_, i) => i % 2 === turn)) as [
    Float32Array,
    Float32Array,
  ];
  const apart = await runVariants(gateVariants, {
    record: (graph) => gate(createTensor(graph, [3, cols]), activation, createTensor(graph, [3, cols])),
    data: { x: gates, up },
    batch: { rows: 2 },
  });
  for (const outcome of apart) expectRows(outcome, 'out', { values, tolerance }, seed);
});

it.each(everyActivation)('%s has the same values on the host', (activation) => {
  for (let x = -12; x <= 12; x += 0.01) {
    const [wanted] = gateReference([x, 1], activation);
    expect(Math.abs(activate[activation](x) - wanted!), `of ${x}`).toBeLessThanOrEqual(1e-7 * Math.abs(x));
  }
});

it('multiplies rows by the sigmoid of their gates, for gates of any size', async () => {
  const seed = freshSeed();
  const random = seededRandom(seed);
  const gate = Float32Array.of(0, -0.5, 3, 1e4, -1e4, -87, Number.NaN);
  for (const cols of [5, 132]) {
    const x = randomNormal(random, gate.length * cols, 8);
    const outcomes = await runVariants(sigmoidGateVariants, {
      record(graph) {
        const fused = createTensor(graph, [9, cols + 8]);
        sigmoidGate(viewColumns(fused, 4, [cols]), viewColumns(createTensor(graph, [9, 6]), 5, [1]));
      },
      data: { x, gate },
      batch: { rows: gate.length },
    });
    const values = sigmoidGateReference(x, gate, cols);
    // As above: the error of exp, damped.
    const tolerance = (i: number): number => 1e-6 * Math.abs(x[i]!);
    for (const outcome of outcomes) expectRows(outcome, 'out', { values, tolerance }, seed);
  }
});

it('takes the last row of each sequence', async () => {
  const seed = freshSeed();
  const cols = 257;
  const lengths = [3, 1, 5];
  const sequences = lengths.map((rows, i) => ({ rows, position: 7 * i, slot: 2 - i }));
  const x = randomNormal(seededRandom(seed), 9 * cols);
  const outcomes = await runVariants(lastRowVariants, {
    record: (graph) => lastRow(createTensor(graph, [13, cols]), 4),
    data: { x },
    batch: { sequences },
  });
  const values = Float64Array.from([2, 3, 8].flatMap((row) => [...x.subarray(row * cols, (row + 1) * cols)]));
  for (const outcome of outcomes) expectRows(outcome, 'out', { values, tolerance: () => 0 }, seed);
});
