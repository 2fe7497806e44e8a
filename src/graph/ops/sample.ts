/** @file Tokens chosen from logits; the layouts of the words that are exchanged are in kernels/sample/layout.ts. */
import {
  batchTensor,
  createTensor,
  type OpRecord,
  record,
  rowSize,
  sessionTensor,
  type Tensor,
} from '../graph.ts';
import { rowsOf } from '../shapes.ts';
import { sampledTokens } from './embed.ts';

/** Which rows of the batch an op of the sampler looks at: one of each sequence. */
export interface SampledRows {
  /** `all`: logits have a row for each of the batch, and results too; `last`: for the last row of each sequence. */
  readonly logits: 'all' | 'last';
  /** With `all`: the first rows of all sequences are round 0, the second rows round 1, and so on. */
  readonly round: number;
}

/**
 * First half of choosing a token: penalties, logit bias and a mask, all of the row's slot, on a row of logits for each sequence;
 * out = scaled logits [sequences, vocab], and a summary of each block of `blockSize` tokens. The temperature enters the summaries
 * only; it divides differences, not logits.
 */
export type SampleScaleOp = OpRecord<
  'sampleScale',
  { logits: Tensor; sampling: Tensor; counts: Tensor; bias: Tensor; mask: Tensor; batch: Tensor },
  object,
  { blockSize: number } & SampledRows,
  { scaled: Tensor; blocks: Tensor }
>;

/**
 * Second half: temperature, top-k, top-p, min-p, the draw; writes the id to word `ahead - 1` of `sampled` of the slot (where the
 * embedding of the next pass reads it), counts it, and writes to `result` for the host. `logits` only tell the model's own probability of
 * the token. The token will stand `ahead` positions after the row, and its draw depends on that and the seed alone.
 *   With `isGuessed`, the tokens of all rows of a sequence but the first are guesses: a row samples only if the row before it sampled
 *   exactly its token; else its result says that it was skipped, and nothing else changes.
 *   Without `counts` the token is not counted.
 */
export type SamplePickOp = OpRecord<
  'samplePick',
  { logits: Tensor; scaled: Tensor; blocks: Tensor; sampling: Tensor; batch: Tensor },
  object,
  { blockSize: number; ahead: 1 | 2; isGuessed: boolean } & SampledRows,
  { sampled: Tensor; counts?: Tensor; result: Tensor }
>;

declare module '../graph.ts' {
  interface OpTable {
    sampleScale: SampleScaleOp;
    samplePick: SamplePickOp;
  }
}

/**
 * Tokens that one workgroup of `sampleScale` sums up: a power of two that makes at most 512 blocks, which is what
 * `samplePick` looks through in one workgroup.
 */
const sampleBlockSize = (vocab: number): number => Math.max(512, 2 ** Math.ceil(Math.log2(vocab / 512)));
/** Words that it leaves for each block. */
const SAMPLE_BLOCK_WORDS = 8;

/** Words of a result; the layout of all that host and sampler exchange is in kernels/sample/layout.ts. */
const RESULT_WORDS = 16;

/**
 * Samples after rows of logits: [rows, vocab] (`all`, in up to `rounds` rounds) or [sequences, vocab] (`last`). Results go to the rows of
 * the session tensor `result`, the last sampled id of each sequence to `sampled`.
 */
export function sample(logits: Tensor, rows: SampledRows['logits'], rounds = 1): void {
  const result = sessionTensor(logits.graph, 'result', [rowsOf(logits), RESULT_WORDS], 'u32', {
    kind: 'carry',
  });
  for (let round = 0; round < rounds; round++) {
    recordSampler(logits, result, { logits: rows, round, ahead: 1, isGuessed: rounds > 1 });
  }
}

/**
 * logits [sequences, vocab] of what may stand two positions after the last row of each sequence -> a guess of that token in
 * `sampled`. It is drawn by the rules and the random number that the token itself will be drawn by: the more alike the distributions,
 * the likelier the two are equal. It is not counted.
 */
export function sampleDraft(logits: Tensor): void {
  const result = createTensor(logits.graph, [rowsOf(logits), RESULT_WORDS], { dtype: 'u32' });
  recordSampler(logits, result, { logits: 'last', round: 0, ahead: 2, isGuessed: false });
}

function recordSampler(
  logits: Tensor,
  result: Tensor,
  attrs: Omit<SamplePickOp['attrs'], 'blockSize'>,
): void {
  const { graph } = logits;
  const { scope } = graph;
  const vocab = rowSize(logits);
  const ofSlot = (name: string, words: number, dtype: 'u32' | 'f32'): Tensor =>
    sessionTensor(graph, name, [1, words], dtype, { kind: 'sampler' });
  const sampling = ofSlot('sampling', 16, 'u32');
  const counts = ofSlot('counts', vocab, 'u32');
  const bias = ofSlot('bias', vocab, 'f32');
  const mask = ofSlot('mask', Math.ceil(vocab / 32), 'u32');
  const batch = batchTensor(graph);
  const sequences = Math.min(rowsOf(logits), graph.layout.slots);
  const blockSize = sampleBlockSize(vocab);
  const scaled = createTensor(graph, [sequences, vocab]);
  const blocks = createTensor(graph, [sequences, Math.ceil(vocab / blockSize), SAMPLE_BLOCK_WORDS], {
    dtype: 'u32',
  });
  record(graph, {
    kind: 'sampleScale',
    scope,
    inputs: { logits, sampling, counts, bias, mask, batch },
    weights: {},
    attrs: { blockSize, logits: attrs.logits, round: attrs.round },
    outputs: { scaled, blocks },
  });
  record(graph, {
    kind: 'samplePick',
    scope,
    inputs: { logits, scaled, blocks, sampling, batch },
    weights: {},
    attrs: { blockSize, ...attrs },
    outputs: { sampled: sampledTokens(graph), ...(attrs.ahead === 1 && { counts }), result },
  });
}
