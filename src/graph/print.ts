/** @file A plan as text: one line per op with its shapes and slots, then the totals. Snapshots of it show an accidental extra dispatch. */
import { gatedName } from './activation.ts';
import { baseOf, type Op, opInputs, opOutputs, opWeights, rowSize, type Tensor } from './graph.ts';
import type { Plan } from './plan.ts';
import type { Weight } from './weight.ts';

/** Every op of the plan, in order. */
export function printPlan(plan: Plan): string {
  const place = (t: Tensor): string => {
    const base = baseOf(t);
    const slot = base.lifetime === 'session' ? base.name : `#${plan.slotOf.get(base)}`;
    return `${slot}${t.base ? `[${t.offset}+${rowSize(t)}]` : ''}`;
  };
  const line = (op: Op, i: number): string => {
    const weights = opWeights(op).map(
      (w) => `${w.isVector ? '' : `${w.format.name}[${w.rows},${w.cols}] `}${shortNames(w)}`,
    );
    const shapes = opOutputs(op).map((t) => `[${t.shape}]`);
    return [
      String(i).padStart(4),
      nameOf(op).padEnd(16),
      `${opInputs(op).map(place).join(' ')} -> ${opOutputs(op).map(place).join(' ')} ${shapes.join(' ')}`,
      weights.join(', '),
    ]
      .join('  ')
      .trimEnd();
  };
  const { ops } = plan.graph;
  const lines = ops.map((op, i) =>
    i > 0 && ops[i - 1]!.scope === op.scope ? line(op, i) : `${op.scope}\n${line(op, i)}`,
  );
  const totals = [
    `${ops.length} dispatches`,
    `${plan.slots.length} slots, ${plan.activationBytes} bytes`,
    `session tensors ${plan.sessionBytes} bytes`,
    `weights ${plan.weightBytes} bytes`,
  ];
  return [...lines, totals.join('; ')].join('\n');
}

/** The kind of an op, and what is folded into it. */
function nameOf(op: Op): string {
  if (op.kind === 'gate') return gatedName(op.attrs.activation);
  return 'gate' in op.attrs && op.attrs.gate ? `${op.kind} ${gatedName(op.attrs.gate)}` : op.kind;
}

/** The last two parts of a name tell it apart within its scope; the same ones of all experts are named once. */
function shortNames({ names, rows, unitRows }: Weight): string {
  const short = new Set(names.map((name) => name.split('.').slice(-2).join('.')));
  const times = short.size < names.length ? `${rows / unitRows} x ` : '';
  return times + [...short].join('+');
}
