/**
 * @file Peephole rules over the recorded ops that leave fewer dispatches and the same arithmetic. Tensors that the host wants
 * to read are never fused away.
 */
import { baseOf, type Op, type Tensor } from './graph.ts';
import { FEW_ROWS, type OpList, type Rule } from './op-list.ts';
import type { AppendKvOp } from './ops/cache.ts';
import type { AddOp, GateOp } from './ops/elementwise.ts';
import type { CombineExpertsOp, ExpertLinearOp } from './ops/experts.ts';
import type { MixHeadsOp, RopeOp } from './ops/heads.ts';
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
      op.inputs.up ||
      linear.inputs.residual ||
      linear.attrs.gate !== undefined ||
      (linear.kind === 'linear' && linear.attrs.scale !== 1) ||
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

/** Of a layer's q and k before attention: the norms, rotations and mixing, as far as they are there. */
interface HeadSteps {
  readonly norm: RmsNormOp | undefined;
  readonly rope: RopeOp;
  readonly mix: MixHeadsOp | undefined;
}

/** What made `end`, one step reading the other and nobody else doing so. */
function stepsTo(end: Tensor, ops: OpList): HeadSteps | undefined {
  const mix = ops.producedBy('mixHeads', end);
  const rope = ops.producedBy('rope', mix?.inputs.x ?? end);
  if (!rope || (mix && !ops.isOnlyFor(mix.inputs.x, mix))) return undefined;
  const norm = ops.producedBy('rmsNorm', rope.inputs.x);
  if (norm && !ops.isOnlyFor(rope.inputs.x, rope)) return undefined;
  return { norm, rope, mix };
}

/** q and k norms, both rotations and the cache append -> one op. */
export const prepareHeads: Rule<'appendKv'> = {
  name: 'norm, rope and append of heads',
  kind: 'appendKv',
  apply(op: AppendKvOp, ops) {
    const { k, v } = op.inputs;
    const ofK = stepsTo(k, ops);
    if (!ofK || !ops.isOnlyFor(k, op)) return;
    const last = ofK.mix ?? ofK.rope;
    const lastOfQ = ops.graph.ops.find(
      (o): o is MixHeadsOp | RopeOp => o.kind === last.kind && o !== last && o.scope === op.scope,
    );
    const ofQ = lastOfQ && stepsTo(lastOfQ.outputs.out, ops);
    if (!ofQ || ofQ.rope.inputs.angles !== ofK.rope.inputs.angles) return;
    if (ofQ.rope.attrs.pairing !== ofK.rope.attrs.pairing) return;
    const [normQ, normK] = [ofQ.norm, ofK.norm];
    if (!normQ !== !normK || normQ?.attrs.eps !== normK?.attrs.eps) return;
    const [q, kRaw] = [(normQ ?? ofQ.rope).inputs.x, (normK ?? ofK.rope).inputs.x];
    // Three bindings instead of one would not leave enough of the 8 that every device has.
    if (baseOf(q) !== baseOf(kRaw) || baseOf(q) !== baseOf(v)) return;
    const old: Op[] = [...Object.values(ofQ), ...Object.values(ofK), op].filter((o) => o !== undefined);
    ops.replace(old, {
      kind: 'prepareHeads',
      scope: op.scope,
      inputs: { q, k: kRaw, v, angles: ofK.rope.inputs.angles, batch: op.inputs.batch },
      weights: normQ && normK ? { qNorm: normQ.weights.norm, kNorm: normK.weights.norm } : {},
      attrs: { eps: normQ?.attrs.eps ?? 0, pairing: ofK.rope.attrs.pairing, mixes: ofK.mix !== undefined },
      outputs: { out: lastOfQ.outputs.out, ...op.outputs },
    });
  },
};
