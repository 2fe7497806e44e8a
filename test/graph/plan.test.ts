import { expect, it } from 'vitest';
import {
  baseOf,
  createGraph,
  createTensor,
  opInputs,
  opOutputs,
  type Tensor,
} from '../../src/graph/graph.ts';
import { add, gate } from '../../src/graph/ops/elementwise.ts';
import { linear } from '../../src/graph/ops/linear.ts';
import { rmsNorm } from '../../src/graph/ops/norm.ts';
import { planGraph } from '../../src/graph/plan.ts';
import { rewrite } from '../../src/graph/rewrite.ts';
import { Weights } from '../../src/graph/weight.ts';
import { uniformResolver } from '../../src/weights/resolve.ts';

/** A chain of MLP blocks on a residual stream. */
function record(rows: number, numBlocks: number) {
  const graph = createGraph(uniformResolver('bf16'));
  const w = new Weights(graph);
  let x: Tensor = createTensor(graph, [rows, 64], { name: 'x' });
  for (let i = 0; i < numBlocks; i++) {
    x = w.at('layers', i).run((wl) => {
      const h = rmsNorm(x, wl.vector(['norm.weight'], [64]), 1e-6);
      const gateUp = wl.matrix(['gate', 'up'], [96, 96], 64, { layout: 'interleaved' });
      return add(x, linear(gate(linear(h, gateUp), 'silu'), wl.matrix(['down'], [64], 96)));
    });
  }
  return { graph, out: x };
}

it('never gives an op an output that shares a buffer with what it reads', () => {
  const { graph } = record(3, 6);
  const plan = planGraph(graph);
  for (const op of graph.ops) {
    const read = opInputs(op).map((t) => plan.slotOf.get(baseOf(t)));
    for (const out of opOutputs(op)) expect(read).not.toContain(plan.slotOf.get(out));
  }
});

it('never overwrites a tensor that is still to be read', () => {
  const { graph } = record(3, 6);
  const plan = planGraph(graph);
  const holder = new Map<number, Tensor>();
  for (const op of graph.ops) {
    for (const t of opInputs(op).map(baseOf)) {
      const slot = plan.slotOf.get(t)!;
      if (holder.has(slot)) expect(holder.get(slot)).toBe(t);
    }
    for (const t of opOutputs(op)) holder.set(plan.slotOf.get(t)!, t);
  }
});

it('needs no more memory for more layers', () => {
  expect(planGraph(record(1, 30).graph).activationBytes).toBe(planGraph(record(1, 3).graph).activationBytes);
});

it('gives every tensor its own slot without reuse, and to tensors that the host keeps', () => {
  const { graph } = record(1, 4);
  const { slots } = planGraph(graph, { reuse: false });
  expect(slots.every((s) => s.tensors.length === 1)).toBe(true);
  const kept = graph.ops.at(1)!.outputs as { out: Tensor };
  const plan = planGraph(graph, { keep: [kept.out] });
  const { tensors } = plan.slots[plan.slotOf.get(kept.out)!]!;
  expect(tensors.at(-1)).toBe(kept.out);
});

it('fuses a block of one row into two dispatches, and of many rows into three', () => {
  const kinds = (rows: number): string[] => {
    const { graph } = record(rows, 1);
    rewrite(graph);
    return graph.ops.map((op) => op.kind);
  };
  expect(kinds(1)).toEqual(['linear', 'linear']);
  expect(kinds(64)).toEqual(['rmsNorm', 'linear', 'linear']);
});

it('does not fuse away a tensor that the host reads', () => {
  const { graph } = record(1, 1);
  const normed = (graph.ops[0]!.outputs as { out: Tensor }).out;
  rewrite(graph, [normed]);
  expect(graph.ops.map((op) => op.kind)).toEqual(['rmsNorm', 'linear', 'linear']);
});

it('names the module when shapes do not fit', () => {
  const { graph, out } = record(1, 1);
  const w = new Weights(graph, 'layers.7');
  expect(() => w.run(() => linear(out, w.matrix(['q_proj'], [8], 65)))).toThrow(
    /layers\.7: linear layers\.7\.q_proj\.weight: found rows of 64, wanted rows of 65/,
  );
});
