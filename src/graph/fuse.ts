/**
 * @file A small table of peephole rules over the recorded ops. Each rule looks at one op and its neighbours, and either
 * leaves the list alone or rewrites it with fewer dispatches and the same arithmetic. `fuse=0` skips them all. Tensors
 * that the host wants to read are never fused away.
 */
import {
  type AddOp,
  type AppendKvOp,
  type AttendOp,
  baseOf,
  type CombineExpertsOp,
  createTensor,
  type EntryTiles,
  type ExpertLinearOp,
  type Graph,
  type LinearOp,
  type Op,
  type OpKind,
  type OpOf,
  opInputs,
  opOutputs,
  type RmsNormOp,
  type RopeOp,
  type RouteOp,
  type SwigluOp,
  type Tensor,
} from './graph.ts';

/** Up to so many rows the matvec kernels are used, which take a folded norm, and attention is split over the context. */
export const FEW_ROWS = 8;

/**
 * Splits of decode attention: short ones, so that a short context fills a GPU too, until kv heads (or every so many query
 * heads that share one) and splits are as many workgroups as fill the device. From there on splits grow with the context:
 * what a split begins and ends with is paid for by more positions.
 */
const SPLIT_LENGTH = 64;
const WORKGROUP_HEADS = 16;
/** What the widest GPUs may need. */
export const MAX_WORKGROUPS = 512;
/** All partial results of an op: 64 splits of 128 heads of 512 values in 8 rows would be 135 MB, more than a binding may have. */
const MAX_PARTIAL_BYTES = 2 ** 25;

interface Rule<K extends OpKind = OpKind> {
  readonly name: string;
  readonly kind: K;
  apply(op: OpOf<K>, ops: OpList): void;
}

/** The ops being rewritten, with the questions that rules ask; who makes and who reads a tensor is kept in maps, since large models have thousands of ops. */
class OpList {
  readonly graph: Graph;
  readonly keep: ReadonlySet<Tensor>;
  readonly #producers = new Map<Tensor, Op>();
  /** By base. */
  readonly #consumers = new Map<Tensor, Set<Op>>();

  constructor(graph: Graph, keep: ReadonlySet<Tensor>) {
    this.graph = graph;
    this.keep = keep;
    for (const op of graph.ops) this.#add(op);
  }

  #add(op: Op): void {
    for (const t of opOutputs(op)) this.#producers.set(t, op);
    for (const t of opInputs(op)) {
      const users = this.#consumers.get(baseOf(t));
      if (users) users.add(op);
      else this.#consumers.set(baseOf(t), new Set([op]));
    }
  }

  #remove(op: Op): void {
    for (const t of opOutputs(op)) if (this.#producers.get(t) === op) this.#producers.delete(t);
    for (const t of opInputs(op)) this.#consumers.get(baseOf(t))?.delete(op);
  }

  producer(t: Tensor): Op | undefined {
    return this.#producers.get(t);
  }

  producedBy<K extends OpKind>(kind: K, t: Tensor): OpOf<K> | undefined {
    const op = this.producer(t);
    return op?.kind === kind ? (op as OpOf<K>) : undefined;
  }

  consumers(t: Tensor): Op[] {
    return [...(this.#consumers.get(baseOf(t)) ?? [])];
  }

  /** Only `op` reads it, and the host does not. */
  isOnlyFor(t: Tensor, op: Op): boolean {
    const users = this.consumers(t);
    return !this.keep.has(baseOf(t)) && users.length === 1 && users[0] === op;
  }

  /** Puts `next` where the last of `old` stood and removes all of `old` that is not among them. */
  replace(old: readonly Op[], ...next: Op[]): void {
    const { ops } = this.graph;
    const at = Math.max(...old.map((o) => ops.indexOf(o)));
    ops.splice(at, 1, ...next);
    for (const o of old) {
      const index = ops.indexOf(o);
      if (index >= 0 && !next.includes(o)) ops.splice(index, 1);
    }
    for (const op of old) this.#remove(op);
    for (const op of next) this.#add(op);
  }
}

/** Ops that can add a residual to what they compute. */
function takesResidual(op: Op | undefined): op is LinearOp | ExpertLinearOp | CombineExpertsOp {
  return (
    (op?.kind === 'linear' && op.attrs.activation === 'none') ||
    (op?.kind === 'expertLinear' && op.inputs.scales !== undefined) ||
    op?.kind === 'combineExperts'
  );
}

/** linear (or the sum over experts) + add -> the same with a residual epilogue. */
const foldResidual: Rule<'add'> = {
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

/** linear + swiglu -> linear whose epilogue multiplies silu(gate) by up. */
const foldSwiglu: Rule<'swiglu'> = {
  name: 'swiglu into linear',
  kind: 'swiglu',
  apply(op: SwigluOp, ops) {
    const linear = ops.producedBy('linear', op.inputs.x) ?? ops.producedBy('expertLinear', op.inputs.x);
    if (
      !linear ||
      linear.inputs.residual ||
      linear.attrs.activation !== 'none' ||
      !ops.isOnlyFor(op.inputs.x, op)
    )
      return;
    ops.replace([linear, op], {
      ...linear,
      attrs: { ...linear.attrs, activation: 'swiglu' },
      outputs: op.outputs,
    } as Op);
  },
};

/** expertLinear + combineExperts of few rows -> one op that adds up a row's experts as it goes. */
const foldCombine: Rule<'combineExperts'> = {
  name: 'sum over experts into their linear',
  kind: 'combineExperts',
  apply(op: CombineExpertsOp, ops) {
    const { x, scales } = op.inputs;
    const linear = ops.producedBy('expertLinear', x);
    if (!linear || x.shape[0]! > FEW_ROWS || linear.attrs.activation !== 'none' || !ops.isOnlyFor(x, op))
      return;
    ops.replace([linear, op], { ...linear, inputs: { ...linear.inputs, scales }, outputs: op.outputs });
  },
};

/**
 * A tile of the grouped matmul of experts. 256 rows that choose 8 of 128 experts give each 16 entries: with 32 rows most
 * experts have one tile, so that their weights are unpacked once, and the threads of rows that a tile lacks rest.
 */
export const EXPERT_TILE: EntryTiles = { tileRows: 32, tileCols: 64 };

/** Many rows: the entries of all rows are sorted by expert, so that an expert's weights are read once for a tile of them. */
const groupByExpert: Rule<'route'> = {
  name: 'rows grouped by expert',
  kind: 'route',
  apply(op: RouteOp, ops) {
    const { experts } = op.outputs;
    const [rows, k] = experts.shape as [number, number];
    const linears = ops.consumers(experts).filter((o): o is ExpertLinearOp => o.kind === 'expertLinear');
    const [first] = linears;
    if (rows <= FEW_ROWS || !first) return;
    const { graph } = ops;
    const { weight } = first.weights;
    const numExperts = weight.rows / weight.unitRows;
    const { tileRows, tileCols } = EXPERT_TILE;
    // Each expert may leave one tile that is not full.
    const maxTiles = Math.min(rows * k, Math.floor((rows * k) / tileRows) + numExperts);
    const tensor = (shape: number[], name: string): Tensor =>
      createTensor(graph, shape, { dtype: 'u32', name: `${op.scope}.${name}` });
    const grouped = {
      entries: tensor([rows * k], 'entries'),
      tiles: tensor([maxTiles, 4], 'tiles'),
      dispatch: tensor([4], 'dispatch'),
    };
    const columnTiles = Math.max(...linears.map((l) => Math.ceil(l.weights.weight.unitRows / tileCols)));
    ops.replace([op], op, {
      kind: 'groupEntries',
      scope: op.scope,
      inputs: { experts },
      weights: {},
      attrs: { numExperts, tileRows, columnTiles },
      outputs: grouped,
    });
    for (const linear of linears) {
      ops.replace([linear], {
        ...linear,
        inputs: { ...linear.inputs, ...grouped },
        attrs: { ...linear.attrs, tile: EXPERT_TILE },
      });
    }
  },
};

/** rmsNorm + few-row linears -> linears that normalise x as they read it. */
const foldNorm: Rule<'rmsNorm'> = {
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
const prepareHeads: Rule<'appendKv'> = {
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
      inputs: { q, k: kRaw, v, angles: ropeK.inputs.angles },
      weights: normQ && normK ? { qNorm: normQ.weights.norm, kNorm: normK.weights.norm } : {},
      attrs: { eps: normQ?.attrs.eps ?? 0, pairing: ropeQ.attrs.pairing },
      outputs: { out: ropeQ.outputs.out, ...op.outputs },
    });
  },
};

/** Attention of few rows is split over the context, so that one token fills the GPU. */
const splitAttention: Rule<'attend'> = {
  name: 'attention split over the context',
  kind: 'attend',
  apply(op: AttendOp, ops) {
    const { q, keys, values } = op.inputs;
    const [rows, heads] = q.shape as [number, number, number];
    const capacity = keys.shape[0]!;
    if (rows > FEW_ROWS) return;
    const splitLength = SPLIT_LENGTH;
    const width = Math.ceil((values.shape[2]! + 2) / 4) * 4;
    const fitting = Math.max(1, Math.floor(MAX_PARTIAL_BYTES / (rows * heads * width * 4)));
    const groups = Math.max(keys.shape[1]!, Math.ceil(heads / WORKGROUP_HEADS));
    const filling = Math.ceil(MAX_WORKGROUPS / groups);
    const maxSplits = Math.min(filling, fitting, Math.ceil(capacity / splitLength));
    const partials = createTensor(ops.graph, [rows, heads, maxSplits, width], {
      name: `${op.scope}.partials`,
    });
    const { scope } = op;
    ops.replace(
      [op],
      {
        kind: 'attendSplit',
        scope,
        inputs: { q, keys, values },
        weights: {},
        attrs: { scale: op.attrs.scale, splitLength, maxSplits, groups },
        outputs: { partials },
      },
      {
        kind: 'attendMerge',
        scope,
        inputs: { partials },
        weights: {},
        attrs: { splitLength, maxSplits, groups },
        outputs: op.outputs,
      },
    );
  },
};

/** Applied in this order, each over the whole list. */
export const rules: readonly Rule[] = [
  prepareHeads,
  foldSwiglu,
  foldCombine,
  foldResidual,
  groupByExpert,
  foldNorm,
  splitAttention,
] as unknown as readonly Rule[];

/** Rewrites the graph's ops in place. `keep`: tensors that the host reads. */
export function fuse(graph: Graph, keep: readonly Tensor[] = []): void {
  const ops = new OpList(graph, new Set(keep.map(baseOf)));
  for (const rule of rules) {
    for (const op of [...graph.ops]) {
      if (op.kind === rule.kind && graph.ops.includes(op)) rule.apply(op, ops);
    }
  }
}
