/** @file Runs both halves of the sampler on one device, pass after pass, with all that the host does not write as poison. */
import {
  NUM_RESULT_WORDS,
  packCounts,
  packSampling,
  type SampleResult,
  type SamplingParams,
  unpackResult,
} from '../../kernels/sample/layout.ts';
import { samplePick } from '../../kernels/sample/sample-pick.ts';
import { sampleScale } from '../../kernels/sample/sample-scale.ts';
import { readBuffer } from '../../src/gpu/buffers.ts';
import type { KernelTable } from '../../src/gpu/kernel.ts';
import { baseOf, createGraph, createTensor, type Tensor } from '../../src/graph/graph.ts';
import { type SamplePickOp, type SampleScaleOp, sample, sampleDraft } from '../../src/graph/ops/sample.ts';
import { buildSources, chooseVariant } from '../../src/runtime/program/program.ts';
import type { SampleRules } from '../reference/sample.ts';
import { type Batch, countsOf, drawPool, layoutOf, type SequenceRows, tableOf } from './batch.ts';
import { testDevice } from './harness.ts';
import { type Data, poisoned, readRows, writeRows } from './images.ts';

/** Rules that change nothing. */
export const OFF: SampleRules = {
  temperature: 1,
  topK: 0,
  topP: 1,
  minP: 0,
  repetitionPenalty: 1,
  presencePenalty: 0,
  frequencyPenalty: 0,
};

const RESULT_BYTES = 4 * NUM_RESULT_WORDS;

export interface SampleInput {
  logits: ArrayLike<number>;
  params: SamplingParams;
  promptIds?: readonly number[];
  outputIds?: readonly number[];
  bias?: ArrayLike<number>;
  /** Bits of the tokens that may be sampled. */
  mask?: Uint32Array;
  /** Logits are of 1 + so many rows, and these are the tokens of the rows behind the first. */
  guesses?: readonly number[];
}

/** Where a sequence stands. */
export type Place = Pick<SequenceRows, 'position' | 'slot'>;

export interface SampleOutcome {
  /** One result per pass, or of every row with guesses. */
  results: SampleResult[];
  /** After the last pass. */
  scaled: Float32Array;
  counts: Uint32Array;
  token: number;
  /** Where a guess is kept. */
  draft: number;
}

export interface SamplerOptions {
  /** Rows that logits are recorded for, at least those of the batch. */
  recorded?: number;
  /** Rounds that are recorded: 1 + the most guesses that a sequence may have. More than one: rows are guesses. */
  rounds?: number;
  /** Of the last row of each sequence only, of which there are logits alone. */
  isLast?: boolean;
  /** What is sampled is a draft: the guess of the second token after the last row. */
  isDraft?: boolean;
}

/** Probabilities by id as a result describes them, from the penalised logits. */
export function probabilities(
  scaled: Float32Array,
  { threshold, max, normalizer }: SampleResult,
  { temperature, minP }: SamplingParams,
): Float64Array {
  return Float64Array.from(scaled, (logit, id) => {
    const isAbove = logit > threshold.logit || (logit === threshold.logit && id >= threshold.id);
    const weight = Math.exp((logit - max) / temperature);
    return isAbove && weight >= minP ? weight / normalizer : 0;
  });
}

const rowsOf = ({ guesses }: SampleInput): number => 1 + (guesses?.length ?? 0);

/** Samples behind the rows of one sequence, at each position from the same logits. */
export async function runSampler(
  input: SampleInput,
  positions: readonly number[] = [0],
  options: SamplerOptions = {},
): Promise<SampleOutcome> {
  const passes = positions.map((position) => [{ slot: 1, position }]);
  const [outcome] = await runSamplers([input], passes, options);
  return outcome!;
}

/** Samples for several sequences at once. All passes are submitted before the first result is read. */
export async function runSamplers(
  inputs: readonly SampleInput[],
  passes: readonly (readonly Place[])[],
  { isLast = false, isDraft = false, ...options }: SamplerOptions = {},
): Promise<SampleOutcome[]> {
  const rounds = options.rounds ?? Math.max(...inputs.map(rowsOf));
  const hasLast = isLast || isDraft;
  const vocab = inputs[0]!.logits.length / (hasLast ? 1 : rowsOf(inputs[0]!));
  const batches = passes.map(
    (places): Batch => ({
      sequences: places.map((place, s) => ({
        ...place,
        rows: rowsOf(inputs[s]!),
        tokens: [0, ...(inputs[s]!.guesses ?? [])],
      })),
    }),
  );
  const recorded = options.recorded ?? (hasLast ? inputs.length : countsOf(batches[0]!).rows);
  const gpu = await testDevice();
  const { device, buffers } = gpu;
  const layout = { ...layoutOf(batches[0]!), capacity: 2 ** 17 };
  const { slots } = layout;
  const graph = createGraph(() => {
    throw new Error('a sampler has no weights');
  }, layout);
  const logits = createTensor(graph, [recorded, vocab], { name: 'logits' });
  if (isDraft) sampleDraft(logits);
  else sample(logits, isLast ? 'last' : 'all', rounds);
  const made: GPUBuffer[] = [];
  try {
    const bySlot = (tensor: Tensor): number => (tensor.role?.kind === 'sampler' ? slots : 1);
    const byTensor = new Map<Tensor, GPUBuffer>();
    const tensorOf = (name: string): Tensor => graph.tensors.find((t) => t.name === name)!;
    const given = dataOf(inputs, passes[0]!, vocab, hasLast);
    for (const tensor of graph.tensors.filter((t) => !t.base)) {
      const image = poisoned(tensor, bySlot(tensor));
      for (const { name, row, data } of given) {
        if (name !== tensor.name) continue;
        writeRows(image, { ...tensor, offset: row * tensor.rowStride }, data);
      }
      const buffer = buffers.storage(tensor.name, image.byteLength);
      device.queue.writeBuffer(buffer, 0, image);
      made.push(buffer);
      byTensor.set(tensor, buffer);
    }
    const uniform = buffers.uniform('batch', 16);
    const pick = graph.ops.at(-1) as SamplePickOp;
    const passBytes = RESULT_BYTES * recorded;
    const results = buffers.storage('results', passBytes * passes.length);
    made.push(uniform, results);

    const table = { sampleScale, samplePick } as unknown as KernelTable;
    const dispatches = await Promise.all(
      graph.ops.map(async (op) => {
        const { source } = buildSources(chooseVariant(table, op, gpu.traits), op, gpu.traits)[0]!;
        const { pipeline, layout: bound } = await gpu.pipeline(source, op.kind);
        const tensors = Object.values(source.bindings).map(
          (b) => byTensor.get(baseOf((b as { tensor: Tensor }).tensor))!,
        );
        const bindGroup = device.createBindGroup({
          layout: bound,
          entries: [uniform, ...tensors].map((buffer, binding) => ({ binding, resource: { buffer } })),
        });
        return { pipeline, bindGroup, grid: source.grid };
      }),
    );
    device.pushErrorScope('validation');
    batches.forEach((batch, i) => {
      const counts = countsOf(batch);
      device.queue.writeBuffer(uniform, 0, Uint32Array.of(counts.rows, counts.sequences, 1, 0));
      const words = tableOf(batch, layout, drawPool(Math.random, batch, { ...layout, windows: [] }));
      device.queue.writeBuffer(byTensor.get(tensorOf('batch'))!, 0, words);
      const encoder = device.createCommandEncoder();
      const pass = encoder.beginComputePass();
      for (const { pipeline, bindGroup, grid } of dispatches) {
        pass.setPipeline(pipeline);
        pass.setBindGroup(0, bindGroup);
        if (typeof grid !== 'function') throw new Error('the sampler knows its grids');
        const [x, y, z] = grid(counts);
        if (x * y * z > 0) pass.dispatchWorkgroups(x, y, z);
      }
      pass.end();
      encoder.copyBufferToBuffer(byTensor.get(pick.outputs.result)!, 0, results, passBytes * i, passBytes);
      device.queue.submit([encoder.finish()]);
    });
    const error = await device.popErrorScope();
    if (error) throw new Error(error.message);
    const read = async (buffer: GPUBuffer): Promise<Uint32Array<ArrayBuffer>> =>
      new Uint32Array(await readBuffer(buffers, buffer));
    const readSlots = async (name: string): Promise<Data> =>
      readRows(await read(byTensor.get(tensorOf(name))!), tensorOf(name), slots);
    const words = await read(results);
    const scaledTensor = (graph.ops.at(-2) as SampleScaleOp).outputs.scaled;
    const scaled = readRows(await read(byTensor.get(scaledTensor)!), scaledTensor);
    const [counts, sampled] = [await readSlots('counts'), await readSlots('sampled')];
    let first = 0;
    return inputs.map((input, s): SampleOutcome => {
      const begin = first;
      const numResults = hasLast ? 1 : rowsOf(input);
      first += numResults;
      const { slot } = passes[0]![s]!;
      const resultAt = (pass: number, row: number): SampleResult => {
        const at = NUM_RESULT_WORDS * (pass * recorded + begin + row);
        return unpackResult(words.subarray(at, at + NUM_RESULT_WORDS));
      };
      return {
        results: passes.flatMap((_, p) => Array.from({ length: numResults }, (_, row) => resultAt(p, row))),
        scaled: scaled.slice(s * vocab, (s + 1) * vocab) as Float32Array,
        counts: counts.slice(slot * vocab, (slot + 1) * vocab) as Uint32Array,
        token: sampled[2 * slot]!,
        draft: sampled[2 * slot + 1]!,
      };
    });
  } finally {
    made.forEach((buffer) => {
      buffers.destroy(buffer);
    });
  }
}

/** What the host writes for each sequence: rows of tensors, by name. */
function dataOf(
  inputs: readonly SampleInput[],
  places: readonly Place[],
  vocab: number,
  hasLast: boolean,
): { name: string; row: number; data: Data }[] {
  let row = 0;
  return inputs.flatMap((input, s) => {
    const { bias, mask, params, promptIds = [], outputIds } = input;
    const { slot } = places[s]!;
    const begin = row;
    row += hasLast ? 1 : rowsOf(input);
    const sampling = packSampling(params, { hasBias: bias !== undefined, hasMask: mask !== undefined });
    return [
      { name: 'logits', row: begin, data: Float32Array.from(input.logits) },
      { name: 'sampling', row: slot, data: sampling },
      { name: 'counts', row: slot, data: packCounts(vocab, promptIds, outputIds) },
      ...(bias ? [{ name: 'bias', row: slot, data: Float32Array.from(bias) }] : []),
      ...(mask ? [{ name: 'mask', row: slot, data: mask }] : []),
    ];
  });
}
