/** @file Runs both halves of the sampler on one device, step after step, with all that the host does not write as poison. */
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
import { buildSources, chooseVariant } from '../../src/engine/program.ts';
import { readBuffer } from '../../src/gpu/buffers.ts';
import type { KernelTable, StepRows } from '../../src/gpu/kernel.ts';
import {
  baseOf,
  createGraph,
  createTensor,
  sessionTensor,
  type Tensor,
  tensorBytes,
  viewRow,
} from '../../src/graph/graph.ts';
import {
  type SamplePickOp,
  type SampleScaleOp,
  sample,
  sampleDraft,
  sampleRows,
} from '../../src/graph/ops/sample.ts';
import { POISON, testDevice } from './harness.ts';

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
  /** What is sampled is a draft: the guess of the next step's second row. */
  isDraft?: boolean;
}

export interface SampleOutcome {
  /** One result per step, or of every row with guesses. */
  results: SampleResult[];
  /** After the last step. */
  scaled: Float32Array;
  counts: Uint32Array;
  token: number;
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

/** Samples at each step from the same logits; all steps are submitted before the first result is read. */
export async function runSampler(
  input: SampleInput,
  steps: readonly StepRows[] = [{ position: 0, rows: 1 }],
): Promise<SampleOutcome> {
  const { guesses, isDraft } = input;
  const rows = 1 + (guesses?.length ?? 0);
  const vocab = input.logits.length / rows;
  const gpu = await testDevice();
  const { device, buffers } = gpu;
  const graph = createGraph(() => {
    throw new Error('a sampler has no weights');
  });
  const logits = createTensor(graph, [rows, vocab], { name: 'logits' });
  if (guesses) {
    sampleRows(logits, sessionTensor(graph, 'tokens', [rows], 'u32'));
  } else if (isDraft) {
    sampleDraft(logits, viewRow(sessionTensor(graph, 'tokens', [2], 'u32'), 1));
  } else {
    sample(logits);
  }
  const made: GPUBuffer[] = [];
  try {
    const byTensor = new Map<Tensor, GPUBuffer>();
    for (const tensor of graph.tensors.filter((t) => !t.base)) {
      const poison = new Uint32Array(Math.ceil(Math.max(tensorBytes(tensor), 16) / 16) * 4).fill(POISON);
      const buffer = buffers.storage(tensor.name, poison.byteLength);
      device.queue.writeBuffer(buffer, 0, poison);
      made.push(buffer);
      byTensor.set(tensor, buffer);
    }
    const named = (name: string): GPUBuffer => byTensor.get(graph.tensors.find((t) => t.name === name)!)!;
    const { bias, mask } = input;
    const { rowStride } = logits;
    for (let row = 0; row < rows; row++) {
      const values = Array.from({ length: vocab }, (_, id) => input.logits[row * vocab + id]!);
      device.queue.writeBuffer(named('logits'), 4 * row * rowStride, Float32Array.from(values));
    }
    if (guesses) device.queue.writeBuffer(named('tokens'), 4, Uint32Array.from(guesses));
    device.queue.writeBuffer(
      named('sampling'),
      0,
      packSampling(input.params, { hasBias: bias !== undefined, hasMask: mask !== undefined }),
    );
    device.queue.writeBuffer(named('counts'), 0, packCounts(vocab, input.promptIds ?? [], input.outputIds));
    if (mask) device.queue.writeBuffer(named('mask'), 0, mask as Uint32Array<ArrayBuffer>);
    if (bias) device.queue.writeBuffer(named('bias'), 0, Float32Array.from(bias));
    const uniform = buffers.uniform('step', 16);
    const stepBytes = RESULT_BYTES * rows;
    const results = buffers.storage('results', stepBytes * steps.length);
    made.push(uniform, results);

    const table = { sampleScale, samplePick } as unknown as KernelTable;
    const dispatches = await Promise.all(
      graph.ops.map(async (op) => {
        const { source } = buildSources(chooseVariant(table, op, gpu.traits), op, gpu.traits)[0]!;
        const { pipeline, layout } = await gpu.pipeline(source, op.kind);
        const tensors = Object.values(source.bindings).map(
          (b) => byTensor.get(baseOf((b as { tensor: Tensor }).tensor))!,
        );
        const bindGroup = device.createBindGroup({
          layout,
          entries: [uniform, ...tensors].map((buffer, binding) => ({ binding, resource: { buffer } })),
        });
        return { pipeline, bindGroup, grid: source.grid };
      }),
    );
    device.pushErrorScope('validation');
    steps.forEach(({ rows, position }, i) => {
      device.queue.writeBuffer(uniform, 0, Uint32Array.of(rows, position, 1, 0));
      const encoder = device.createCommandEncoder();
      const pass = encoder.beginComputePass();
      for (const { pipeline, bindGroup, grid } of dispatches) {
        pass.setPipeline(pipeline);
        pass.setBindGroup(0, bindGroup);
        if (typeof grid !== 'function') throw new Error('the sampler knows its grids');
        const [x, y, z] = grid({ rows, position, workgroups: 1 });
        if (x * y * z > 0) pass.dispatchWorkgroups(x, y, z);
      }
      pass.end();
      const pick = graph.ops.at(-1) as SamplePickOp;
      encoder.copyBufferToBuffer(byTensor.get(pick.outputs.result)!, 0, results, stepBytes * i, stepBytes);
      device.queue.submit([encoder.finish()]);
    });
    const error = await device.popErrorScope();
    if (error) throw new Error(error.message);
    const read = async (buffer: GPUBuffer): Promise<Uint32Array<ArrayBuffer>> =>
      new Uint32Array(await readBuffer(buffers, buffer));
    const words = await read(results);
    const scaled = await read(byTensor.get((graph.ops[0] as SampleScaleOp).outputs.scaled)!);
    return {
      results: Array.from({ length: rows * steps.length }, (_, i) =>
        unpackResult(words.subarray(NUM_RESULT_WORDS * i, NUM_RESULT_WORDS * (i + 1))),
      ),
      scaled: new Float32Array(scaled.buffer).slice(0, vocab),
      counts: (await read(named('counts'))).slice(0, vocab),
      token: isDraft ? (await read(named('tokens')))[1]! : (await read(named('token')))[0]!,
    };
  } finally {
    made.forEach((buffer) => {
      buffers.destroy(buffer);
    });
  }
}
