/**
 * @file Which programs a model runs as, recorded and planned without a GPU: decode (one row, sampled), prefill (many rows),
 * those of speculation, and inspection (tensors kept for the host). Knows families and graphs; it must not know kernels or
 * buffers.
 */
import { InvalidInputError } from '../errors.ts';
import {
  createGraph,
  createTensor,
  type Graph,
  sessionTensor,
  type Tensor,
  viewRow,
} from '../graph/graph.ts';
import { FEW_ROWS } from '../graph/op-list.ts';
import { sample, sampleDraft, sampleRows } from '../graph/ops/sample.ts';
import { type Plan, planGraph } from '../graph/plan.ts';
import { rewrite } from '../graph/rewrite.ts';
import { type WeightResolver, Weights } from '../graph/weight.ts';
import type { ModelConfig, ModelFamily, Run } from '../models/model.ts';
import type { Speculation } from './types.ts';

export interface RecordOptions {
  /** Rows of a step. */
  rows: number;
  /** Positions of the KV cache. */
  capacity: number;
  kvDtype: 'f16' | 'f32';
  /** With `mtp` every step keeps the hidden states that drafts are made from. */
  speculate?: Speculation;
  fuse?: boolean;
  reuse?: boolean;
}

export interface ModelSpec {
  readonly family: ModelFamily;
  readonly config: ModelConfig;
  readonly resolve: WeightResolver;
}

/** The programs of a model. */
export interface Plans {
  /** One row that reads the token which the step before has sampled, and samples. */
  readonly decode: Plan;
  /** Many rows; the last samples. */
  readonly prefill: Plan;
  /** A row for the last token and one for each draft behind it; a row samples if the drafts up to it were right. */
  readonly verify?: Plan;
  /** The checkpoint's module over few rows: writes its draft where `verify` reads it. */
  readonly draft?: Plan;
  /** The same over as many rows as a prefill has. */
  readonly draftPrefill?: Plan;
}

/** Session tensors that the host writes before a step. */
export const TOKENS = 'tokens';
export const ANGLES = 'angles';
/** The token that follows each row of the step before, for the module that drafts. */
export const NEXT_TOKENS = 'tokens.next';

/** Drafts that a step verifies: of the module one, of lookup as many as the kernels for few rows take. */
export const MAX_DRAFTS: Readonly<Record<Speculation, number>> = { mtp: 1, lookup: FEW_ROWS - 1 };

/** Records what a session needs. @throws InvalidInputError when the checkpoint has no module to draft with */
export function recordPrograms(
  spec: ModelSpec,
  options: Omit<RecordOptions, 'rows'> & { prefillRows: number },
): Plans {
  const { speculate } = options;
  const prefillRows = Math.max(2, options.prefillRows);
  const plans = {
    decode: recordStep(spec, { ...options, speculate: undefined, rows: 1 }),
    prefill: recordStep(spec, { ...options, rows: prefillRows }),
  };
  if (!speculate) return plans;
  const verify = recordVerify(spec, { ...options, rows: 1 + MAX_DRAFTS[speculate] });
  if (speculate === 'lookup') return { ...plans, verify };
  return {
    ...plans,
    verify,
    draft: recordDraft(spec, { ...options, rows: 1 + MAX_DRAFTS[speculate] }),
    draftPrefill: recordDraft(spec, { ...options, rows: prefillRows }),
  };
}

/** A step that ends in a sampled token. With one row it reads the token that the step before has chosen, else `tokens`. */
export function recordStep(spec: ModelSpec, options: RecordOptions): Plan {
  const name = options.rows === 1 ? 'token' : TOKENS;
  const { graph, logits } = recordForward(spec, options, {
    tokens: name,
    logits: 'last',
    hidden: keptHidden,
  });
  graph.scope = 'sample';
  sample(logits);
  return finish(graph, options);
}

function recordVerify(spec: ModelSpec, options: RecordOptions): Plan {
  const { graph, logits, tokens } = recordForward(spec, options, {
    tokens: TOKENS,
    logits: 'all',
    hidden: keptHidden,
  });
  graph.scope = 'sample';
  sampleRows(logits, tokens);
  return finish(graph, options);
}

function recordDraft(spec: ModelSpec, options: RecordOptions): Plan {
  const graph = createGraph(spec.resolve);
  const logits = draftLogits(graph, spec, options, keptHidden(graph, spec, options), 'last');
  graph.scope = 'sample';
  sampleDraft(logits, viewRow(sessionTensor(graph, TOKENS, [1 + MAX_DRAFTS.mtp], 'u32'), MAX_DRAFTS.mtp));
  return finish(graph, options);
}

function finish(graph: Graph, options: RecordOptions, keep: readonly Tensor[] = []): Plan {
  if (options.fuse !== false) rewrite(graph, keep);
  return planGraph(graph, { reuse: options.reuse, keep });
}

export interface InspectionPlan {
  readonly plan: Plan;
  readonly kept: ReadonlyMap<string, Tensor>;
  /** The names include some of the module that drafts: the step reads `tokens.next` too. */
  readonly hasDraft: boolean;
}

/**
 * A step that keeps the tensors named `names` (logits of every row are `lm_head`) and samples nothing. With `speculate`
 * 'mtp' the module that drafts may be asked too, under the names of the layer behind the last.
 */
export function recordInspection(
  spec: ModelSpec,
  options: RecordOptions,
  names: readonly string[],
): InspectionPlan {
  const module = `model.layers.${spec.config.numHiddenLayers}`;
  const hasDraft =
    options.speculate === 'mtp' && names.some((n) => n === module || n.startsWith(`${module}.`));
  const { graph, hidden } = recordForward(spec, options, {
    tokens: TOKENS,
    logits: 'all',
    hidden: hasDraft ? namedHidden : undefined,
  });
  if (hidden) draftLogits(graph, spec, options, hidden, 'all');
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
  return { plan: finish(graph, options, [...kept.values()]), kept, hasDraft };
}

/** Where `forward` leaves the final norm of every row, if a draft is to be made from it. */
type HiddenOf = (graph: Graph, spec: ModelSpec, options: RecordOptions) => Tensor;

/** For a step of its own that drafts. */
const keptHidden: HiddenOf = (graph, { config }, { rows }) =>
  sessionTensor(graph, 'hidden', [rows, config.hiddenSize], 'f32');

/** For the same step, and for the host under the name that it has without a draft. */
const namedHidden: HiddenOf = (graph, { config }, { rows }) =>
  createTensor(graph, [rows, config.hiddenSize], { name: 'model.norm' });

function recordForward(
  spec: ModelSpec,
  options: RecordOptions,
  what: { tokens: string; logits: 'last' | 'all'; hidden: HiddenOf | undefined },
) {
  const { family, config } = spec;
  const graph = createGraph(spec.resolve);
  const tokens = sessionTensor(graph, what.tokens, [options.rows], 'u32');
  const hidden = options.speculate === 'mtp' ? what.hidden?.(graph, spec, options) : undefined;
  const run = { ...runOf(graph, spec, options, what.logits), ...(hidden && { hidden }) };
  return { graph, tokens, hidden, logits: family.forward(tokens, new Weights(graph), config, run) };
}

function draftLogits(
  graph: Graph,
  spec: ModelSpec,
  options: RecordOptions,
  hidden: Tensor,
  logits: 'last' | 'all',
): Tensor {
  const { family, config } = spec;
  if (!family.draft || !config.numNextnPredictLayers) {
    throw new InvalidInputError(
      `speculate is 'mtp', but this checkpoint (${family.architectures[0]}) has no module that predicts the token after next: num_nextn_predict_layers of its config.json is ${config.numNextnPredictLayers ?? 'not set'}. Load it with speculate: 'lookup', or without.`,
    );
  }
  const tokens = sessionTensor(graph, NEXT_TOKENS, [options.rows], 'u32');
  return family.draft(tokens, hidden, new Weights(graph), config, runOf(graph, spec, options, logits));
}

function runOf(graph: Graph, { config }: ModelSpec, options: RecordOptions, logits: 'last' | 'all'): Run {
  const { rows, capacity, kvDtype } = options;
  return { capacity, kvDtype, logits, angles: sessionTensor(graph, ANGLES, [rows, config.rope.dim], 'f32') };
}
