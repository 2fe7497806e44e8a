/** @file Tokens chosen from logits; the layouts of the words that are exchanged are in kernels/sample/layout.ts. */
import {
  createTensor,
  type Graph,
  type OpRecord,
  record,
  rowSize,
  sessionTensor,
  type Tensor,
} from '../graph.ts';
import { fail, rowsOf } from '../shapes.ts';

/**
 * First half of choosing a token: penalties, logit bias and a mask on a row of logits [rows, vocab], out = scaled logits, and a summary of
 * each block of `blockSize` tokens. The temperature enters the summaries only; it divides differences, not logits. `row`: see
 * samplePick.
 */
export type SampleScaleOp = OpRecord<
  'sampleScale',
  { logits: Tensor; sampling: Tensor; counts: Tensor; bias: Tensor; mask: Tensor },
  object,
  { blockSize: number; row: number | undefined },
  { scaled: Tensor; blocks: Tensor }
>;

/**
 * Second half: temperature, top-k, top-p, min-p, the draw; writes the id to `token` (where the next step's embedding reads
 * it), counts it, and writes to `result` for the host. `logits` only tell the model's own probability of the token.
 *   Logits [rows, vocab] and results [rows, 16] have a row for each of the step, and `row` tells which; undefined: they have
 *   one, of the step's last row. The token will stand `ahead` positions behind, and its draw depends on that and the seed alone.
 *   With `tokens` u32 [rows], the tokens of all rows but the first are guesses: row r samples only if row r - 1 sampled
 *   exactly tokens[r]; else its result says that it was skipped, and nothing else changes.
 *   Without `counts` the token is not counted.
 */
export type SamplePickOp = OpRecord<
  'samplePick',
  { logits: Tensor; scaled: Tensor; blocks: Tensor; sampling: Tensor; tokens?: Tensor },
  object,
  { blockSize: number; row: number | undefined; ahead: number },
  { token: Tensor; counts?: Tensor; result: Tensor }
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

/** Where the sampler writes, beside `counts`: session tensors that outlive the step. */
const sampled = (graph: Graph, rows: number) => ({
  token: sessionTensor(graph, 'token', [1], 'u32'),
  result: sessionTensor(graph, 'result', [rows, RESULT_WORDS], 'u32'),
});

/** logits [1, vocab] of the step's last row -> the id of the next token, in the session tensors `token` and `result`. */
export function sample(logits: Tensor): Tensor {
  if (rowsOf(logits) !== 1) fail(logits.graph, 'sample', `${rowsOf(logits)} rows`, 'one row of logits');
  const { token, result } = sampled(logits.graph, 1);
  recordSampler(logits, { token, result, isCounted: true }, { row: undefined, ahead: 1 });
  return token;
}

/**
 * Samples behind each row of logits [rows, vocab], as long as the tokens u32 [rows] that the rows were computed from are what
 * was sampled before them: results in the rows of the session tensor `result`, the last sampled id in `token`.
 */
export function sampleRows(logits: Tensor, tokens: Tensor): void {
  const rows = rowsOf(logits);
  if (rowsOf(tokens) !== rows) fail(logits.graph, 'sampleRows', `${rowsOf(tokens)} tokens`, `${rows}`);
  const { token, result } = sampled(logits.graph, rows);
  for (let row = 0; row < rows; row++) {
    const attrs = { row, ahead: 1 };
    recordSampler(logits, { token, result, isCounted: true }, attrs, tokens);
  }
}

/**
 * logits [1, vocab] of what may stand two positions behind the step's last row -> a guess of that token in `token`. It is
 * drawn by the rules and the random number that the token itself will be drawn by: the more alike the distributions, the
 * likelier the two are equal. It is not counted.
 */
export function sampleDraft(logits: Tensor, token: Tensor): void {
  if (rowsOf(logits) !== 1) fail(logits.graph, 'draft', `${rowsOf(logits)} rows`, 'one row of logits');
  const result = createTensor(logits.graph, [1, RESULT_WORDS], { dtype: 'u32' });
  recordSampler(logits, { token, result, isCounted: false }, { row: undefined, ahead: 2 });
}

function recordSampler(
  logits: Tensor,
  { token, result, isCounted }: { token: Tensor; result: Tensor; isCounted: boolean },
  attrs: Pick<SamplePickOp['attrs'], 'row' | 'ahead'>,
  tokens?: Tensor,
): void {
  const { graph } = logits;
  const vocab = rowSize(logits);
  const sampling = sessionTensor(graph, 'sampling', [16], 'u32');
  const counts = sessionTensor(graph, 'counts', [vocab], 'u32');
  const bias = sessionTensor(graph, 'bias', [vocab], 'f32');
  const mask = sessionTensor(graph, 'mask', [Math.ceil(vocab / 32)], 'u32');
  const scaled = createTensor(graph, [1, vocab]);
  const blockSize = sampleBlockSize(vocab);
  const numBlocks = Math.ceil(vocab / blockSize);
  const blocks = createTensor(graph, [numBlocks, SAMPLE_BLOCK_WORDS], { dtype: 'u32' });
  const scope = graph.scope;
  record(graph, {
    kind: 'sampleScale',
    scope,
    inputs: { logits, sampling, counts, bias, mask },
    weights: {},
    attrs: { blockSize, row: attrs.row },
    outputs: { scaled, blocks },
  });
  record(graph, {
    kind: 'samplePick',
    scope,
    inputs: { logits, scaled, blocks, sampling, ...(tokens && { tokens }) },
    weights: {},
    attrs: { blockSize, ...attrs },
    outputs: { token, ...(isCounted && { counts }), result },
  });
}
