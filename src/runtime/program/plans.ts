/**
 * @file Which programs a model runs as, recorded and planned without a GPU: rows of several sequences, a chunk of a prompt, the
 * module that drafts over either, and inspection (tensors kept for the host). Knows families and graphs; it must not know kernels
 * or buffers.
 */
import { InvalidInputError } from '../../errors.ts';
import type { BatchLayout } from '../../graph/batch.ts';
import { createGraph, type Graph, rotaryTables, sessionTensor, type Tensor } from '../../graph/graph.ts';
import { FEW_ROWS } from '../../graph/op-list.ts';
import type { KvFormat } from '../../graph/ops/cache.ts';
import { sample, sampleDraft } from '../../graph/ops/sample.ts';
import { type Plan, planGraph } from '../../graph/plan.ts';
import { rewrite } from '../../graph/rewrite.ts';
import { type WeightResolver, Weights } from '../../graph/weight.ts';
import type { ModelConfig, ModelFamily, Recording } from '../../models/model.ts';
import type { Speculation } from '../types.ts';

export interface ModelSpec {
  readonly family: ModelFamily;
  readonly config: ModelConfig;
  readonly resolve: WeightResolver;
}

/** What all programs of a model have in common. */
export interface PlanOptions {
  /** Positions of a sequence. */
  capacity: number;
  /** Sequences that run at a time. */
  maxSequences: number;
  kvFormat: KvFormat;
  /** Rows of a chunk of a prompt. */
  prefillRows: number;
  /** With `mtp` every pass keeps the hidden states that drafts are made from. */
  speculate?: Speculation | undefined;
  fuse?: boolean | undefined;
  reuse?: boolean | undefined;
}

/** Rows that there are programs for: a batch of fewer rows runs the next larger one. */
export const ROW_COUNTS = [1, 2, 4, 8, 16] as const;
export type RowCount = (typeof ROW_COUNTS)[number];

/**
 * `rows<n>`: a pass of up to n rows of any sequences, which all sample. `prefill`: a chunk of one sequence's prompt, whose last row
 * samples. `draft<n>`, `draftPrefill`: the checkpoint's module over the rows of such a pass; it leaves a guess for each sequence.
 */
export type ProgramName = `rows${RowCount}` | 'prefill' | `draft${RowCount}` | 'draftPrefill';

/** Those that a load compiles; others are recorded when they are first needed. */
export type Plans = { readonly [N in ProgramName]?: Plan } & { readonly rows1: Plan; readonly prefill: Plan };

const HIDDEN = 'hidden';

/** Drafts of a sequence that a pass verifies: of the module one, of lookup a few. */
export const MAX_DRAFTS: Readonly<Record<Speculation, number>> = { mtp: 1, lookup: 7 };

export const layoutOf = ({ windows, rope }: ModelConfig, options: PlanOptions): BatchLayout => ({
  rows: Math.max(FEW_ROWS, chunkRows(options)),
  slots: options.maxSequences,
  capacity: options.capacity,
  windows,
  rotated: rope.dim,
});

/** One row would be another program. */
export const chunkRows = ({ prefillRows }: PlanOptions): number => Math.max(2, prefillRows);

/** The fewest rows for which there is a program that takes so many. */
export const rowCountFor = (rows: number): RowCount => ROW_COUNTS.find((n) => n >= rows)!;

/** Records what a load compiles. @throws InvalidInputError when the checkpoint has no module to draft with */
export function recordPlans(spec: ModelSpec, options: PlanOptions): Plans {
  const { speculate } = options;
  const record = (name: ProgramName): Plan => recordPlan(spec, options, name);
  const plans = { rows1: record('rows1'), prefill: record('prefill') };
  if (!speculate) return plans;
  const count = rowCountFor(1 + MAX_DRAFTS[speculate]);
  const verify = { [`rows${count}`]: record(`rows${count}`) };
  if (speculate === 'lookup') return { ...plans, ...verify };
  return {
    ...plans,
    ...verify,
    draft1: record('draft1'),
    [`draft${count}`]: record(`draft${count}`),
    draftPrefill: record('draftPrefill'),
  };
}

export function recordPlan(spec: ModelSpec, options: PlanOptions, name: ProgramName): Plan {
  const isPrefill = name === 'prefill' || name === 'draftPrefill';
  const rows = isPrefill ? chunkRows(options) : Number(name.replace(/\D+/, ''));
  return name.startsWith('draft')
    ? recordDraft(spec, options, rows, isPrefill)
    : recordRows(spec, options, rows, isPrefill);
}

function recordRows(spec: ModelSpec, options: PlanOptions, rows: number, isPrefill: boolean): Plan {
  const graph = createGraph(spec.resolve, layoutOf(spec.config, options));
  // Of one row the last is all, and the sampler's kernels are those of a prompt's last chunk.
  const sampled = isPrefill || rows === 1 ? 'last' : 'all';
  const into = recordingOf(graph, options, rows, sampled);
  const hidden = options.speculate === 'mtp' ? keptHidden(graph, spec, rows) : undefined;
  const logits = spec.family.forward(new Weights(graph), spec.config, { ...into, ...(hidden && { hidden }) });
  graph.scope = 'sample';
  const drafts = options.speculate ? MAX_DRAFTS[options.speculate] : 0;
  sample(logits, sampled, isPrefill ? 1 : Math.min(rows, 1 + drafts));
  return finish(graph, options);
}

function recordDraft(spec: ModelSpec, options: PlanOptions, rows: number, isPrefill: boolean): Plan {
  const graph = createGraph(spec.resolve, layoutOf(spec.config, options));
  const into = recordingOf(graph, options, rows, 'last');
  const sequences = isPrefill ? 1 : Math.min(rows, options.maxSequences);
  const logits = draftLogits(spec, { ...into, sequences }, keptHidden(graph, spec, rows));
  graph.scope = 'sample';
  sampleDraft(logits);
  return finish(graph, options);
}

export function finish(
  graph: Graph,
  options: Pick<PlanOptions, 'fuse' | 'reuse'>,
  keep: readonly Tensor[] = [],
): Plan {
  if (options.fuse !== false) rewrite(graph, keep);
  return planGraph(graph, { ...(options.reuse !== undefined && { reuse: options.reuse }), keep });
}

export interface InspectionPlan {
  readonly plan: Plan;
  readonly kept: ReadonlyMap<string, Tensor>;
  /** The names include some of the module that drafts: its token is the one after each row's. */
  readonly hasDraft: boolean;
}

/**
 * A pass that keeps the tensors named `names` (logits of every row are `lm_head`) and samples nothing. The module that drafts has the
 * names of the layer after the last: its rows take the token after each row's, so it is a plan of its own, `draft`.
 */
export function recordInspection(
  spec: ModelSpec,
  options: PlanOptions,
  names: readonly string[],
  rows: number,
): { model: InspectionPlan; draft: InspectionPlan | undefined } {
  const module = `model.layers.${spec.config.numHiddenLayers}`;
  const isOfModule = (name: string): boolean => name === module || name.startsWith(`${module}.`);
  const drafted = options.speculate === 'mtp' ? names.filter(isOfModule) : [];
  const layout = layoutOf(spec.config, options);
  const graph = createGraph(spec.resolve, layout);
  const into = recordingOf(graph, options, rows, 'all');
  const hidden = drafted.length > 0 ? keptHidden(graph, spec, rows) : undefined;
  spec.family.forward(new Weights(graph), spec.config, { ...into, ...(hidden && { hidden }) });
  const model = keepNamed(
    graph,
    options,
    names.filter((name) => !drafted.includes(name)),
  );
  if (!hidden) return { model: { ...model, hasDraft: false }, draft: undefined };
  const draftGraph = createGraph(spec.resolve, layout);
  draftLogits(spec, recordingOf(draftGraph, options, rows, 'all'), keptHidden(draftGraph, spec, rows));
  return {
    model: { ...model, hasDraft: true },
    draft: { ...keepNamed(draftGraph, options, drafted), hasDraft: true },
  };
}

function keepNamed(
  graph: Graph,
  options: PlanOptions,
  names: readonly string[],
): Omit<InspectionPlan, 'hasDraft'> {
  const kept = new Map<string, Tensor>();
  for (const name of names) {
    // Several ops may share a module's name; its output is the last of them.
    const tensor = graph.tensors.findLast((t) => t.name === name && t.lifetime === 'step' && !t.base);
    if (!tensor) {
      const known = [...new Set(graph.tensors.filter((t) => t.lifetime === 'step').map((t) => t.name))];
      throw new InvalidInputError(
        `no tensor is named ${name}; there are ${known.slice(0, 24).join(', ')} ...`,
      );
    }
    kept.set(name, tensor);
  }
  return { plan: finish(graph, options, [...kept.values()]), kept };
}

/** Where every row's final norm stays, for the module that drafts. */
const keptHidden = (graph: Graph, { config }: ModelSpec, rows: number): Tensor =>
  sessionTensor(graph, HIDDEN, [rows, config.hiddenSize], 'f32', { kind: 'carry' });

function draftLogits({ family, config }: ModelSpec, into: Recording, hidden: Tensor): Tensor {
  if (!family.draft || !config.numNextnPredictLayers) {
    throw new InvalidInputError(
      `speculate is 'mtp', but this checkpoint (${family.architectures[0]}) has no module that predicts the token after next: num_nextn_predict_layers of its config.json is ${config.numNextnPredictLayers ?? 'not set'}. Load it with speculate: 'lookup', or without.`,
    );
  }
  return family.draft(hidden, new Weights(into.graph), config, into);
}

function recordingOf(
  graph: Graph,
  { kvFormat }: PlanOptions,
  rows: number,
  logits: 'last' | 'all',
): Recording {
  return { graph, rows, sequences: 1, kvFormat, logits, angles: rotaryTables(graph, rows) };
}
