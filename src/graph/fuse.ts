/**
 * @file Peephole rules over the recorded ops that leave fewer dispatches and the same arithmetic. Tensors that the host wants
 * to read are never fused away.
 */
import { baseOf, type Op } from './graph.ts';
import { FEW_ROWS, type Rule } from './op-list.ts';
import type { AppendKvOp } from './ops/cache.ts';
import type { AddOp, GateOp } from './ops/elementwise.ts';
import type { CombineExpertsOp, ExpertLinearOp } from './ops/experts.ts';
import type { RopeOp } from './ops/heads.ts';
import type { LinearOp } from './ops/linear.ts';
import type { RmsNormOp } from './ops/norm.ts';

/** Ops that can add a residual to what they compute. */
function takesResidual(op: Op | undefined): op is LinearOp | ExpertLinearOp | CombineExpertsOp {
  return (
    (op?.kind === 'linear' && op.attrs.gate === undefined) ||
    (op?.kind === 'expertLinear' && op.inputs.scales !== undefined) ||
    op?.kind === 'combineExperts'
  );
}

/** linear (or the sum over experts) + add -> the same with a residual epilogue. */
export const foldResidual: Rule<'add'> = {
  name: 'residual into linear',
  kind: 'add',
  apply(op: AddOp, ops) {
    const { a, b } = op.inputs;
    for (const [x, residual] of [
      [b, a],
      [a, b],
    ] as const) {
      const source = ops.producer(x);
      if (!takesResidual(source) || source.inputs.residual || !ops.isOnlyFor(x, op)) continue;
      ops.replace([source, op], {
        ...source,
        inputs: { ...source.inputs, residual },
        outputs: op.outputs,
      } as Op);
      return;
    }
  },
};

/** linear + gate -> linear whose epilogue multiplies activate(gate) by up. */
export const foldGate: Rule<'gate'> = {
  name: 'gate into linear',
  kind: 'gate',
  apply(op: GateOp, ops) {
    const linear = ops.producedBy('linear', op.inputs.x) ?? ops.producedBy('expertLinear', op.inputs.x);
    if (
      !linear ||
      linear.inputs.residual ||
      linear.attrs.gate !== undefined ||
      !ops.isOnlyFor(op.inputs.x, op)
    )
      return;
    ops.replace([linear, op], {
      ...linear,
      attrs: { ...linear.attrs, gate: op.attrs.activation },
      outputs: op.outputs,
    } as Op);
  },
};

/** expertLinear + combineExperts of few rows -> one op that adds up a row's experts as it goes. */
export const foldCombine: Rule<'combineExperts'> = {
  name: 'sum over experts into their linear',
  kind: 'combineExperts',
  apply(op: CombineExpertsOp, ops) {
    const { x, scales } = op.inputs;
    const linear = ops.producedBy('expertLinear', x);
    if (!linear || x.shape[0]! > FEW_ROWS || linear.attrs.gate !== undefined || !ops.isOnlyFor(x, op)) return;
    ops.replace([linear, op], { ...linear, inputs: { ...linear.inputs, scales }, outputs: op.outputs });
  },
};

/** rmsNorm + few-row linears -> linears that normalise x as they read it. */
export const foldNorm: Rule<'rmsNorm'> = {
  name: 'norm into linear',
  kind: 'rmsNorm',
  apply(op: RmsNormOp, ops) {
    const { out } = op.outputs;
    if (out.shape.length !== 2 || out.shape[0]! > FEW_ROWS || ops.keep.has(out)) return;
    // Outlives the step: whoever reads it later needs it whole.
    if (out.lifetime === 'session') return;
    const users = ops.consumers(out);
    const linears = users.filter(
      (u): u is LinearOp | ExpertLinearOp =>
        (u.kind === 'linear' || (u.kind === 'expertLinear' && !u.inputs.scales)) &&
        u.inputs.x === out &&
        u.inputs.residual !== out,
    );
    if (linears.length === 0 || linears.length !== users.length) return;
    for (const user of linears) {
      ops.replace([user], {
        ...user,
        inputs: { ...user.inputs, x: op.inputs.x },
        weights: { ...user.weights, norm: op.weights.norm },
        attrs: { ...user.attrs, eps: op.attrs.eps },
      } as Op);
    }
    ops.replace([op]);
  },
};

/** q and k norms, both rotations and the cache append -> one op. */
export const prepareHeads: Rule<'appendKv'> = {
  name: 'norm, rope and append of heads',
  kind: 'appendKv',
  apply(op: AppendKvOp, ops) {
    const { k, v } = op.inputs;
    const ropeK = ops.producedBy('rope', k);
    const ropeQ = ops.graph.ops.find(
      (o): o is RopeOp =>
        o.kind === 'rope' && o !== ropeK && o.scope === op.scope && o.inputs.angles === ropeK?.inputs.angles,
    );
    if (!ropeK || !ropeQ || ropeQ.attrs.pairing !== ropeK.attrs.pairing || !ops.isOnlyFor(k, op)) return;
    const [normQ, normK] = [
      ops.producedBy('rmsNorm', ropeQ.inputs.x),
      ops.producedBy('rmsNorm', ropeK.inputs.x),
    ];
    if (!normQ !== !normK || normQ?.attrs.eps !== normK?.attrs.eps) return;
    if (normQ && normK && !(ops.isOnlyFor(ropeQ.inputs.x, ropeQ) && ops.isOnlyFor(ropeK.inputs.x, ropeK)))
      return;
    const [q, kRaw] = [normQ?.inputs.x ?? ropeQ.inputs.x, normK?.inputs.x ?? ropeK.inputs.x];
    // Three bindings instead of one would not leave enough of the 8 that every device has.
    if (baseOf(q) !== baseOf(kRaw) || baseOf(q) !== baseOf(v)) return;
    const old: Op[] = [normQ, normK, ropeQ, ropeK, op].filter(
      (o): o is NonNullable<typeof o> => o !== undefined,
    );
    ops.replace(old, {
      kind: 'prepareHeads',
      scope: op.scope,
      inputs: { q, k: kRaw, v, angles: ropeK.inputs.angles, batch: op.inputs.batch },
      weights: normQ && normK ? { qNorm: normQ.weights.norm, kNorm: normK.weights.norm } : {},
      attrs: { eps: normQ?.attrs.eps ?? 0, pairing: ropeQ.attrs.pairing },
      outputs: { out: ropeQ.outputs.out, ...op.outputs },
    });
  },
};
