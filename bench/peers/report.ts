/** @file The comparison with peers as one HTML file. */
import { escaped, page, table } from '../speed/report.ts';
import { type ContenderSpeed, type PeersResult, type ShapeComparison, spreadText } from './compare.ts';

function speedTable({ shape, prompts }: ShapeComparison): string {
  const cells = (s: ContenderSpeed): string[] =>
    (['prefill', 'decode'] as const).flatMap((part) => [
      s[part].cpu.median.toFixed(1),
      s[part].wall.median.toFixed(1),
      spreadText(s.ratio[part].cpu, 2),
    ]);
  return table(
    [
      'shape and prompt',
      'library',
      'prefill CPU ms',
      'wall ms',
      'times ours',
      'decode CPU ms',
      'wall ms',
      'times ours',
    ],
    prompts.flatMap(({ prompt, speeds }) =>
      speeds.map((s) => [`${shape}, ${prompt}`, escaped(s.contender), ...cells(s)]),
    ),
  );
}

function countsTable({ shape, prompts }: ShapeComparison): string {
  return table(
    [
      'shape and prompt',
      'library',
      'dispatches',
      'submits',
      'passes',
      'new buffers',
      'readbacks',
      'MiB above weights and KV',
    ],
    prompts.flatMap(({ prompt, speeds }) =>
      speeds.flatMap(({ contender, gpu }) =>
        gpu ? [[`${shape}, ${prompt}`, escaped(contender), ...countCells(gpu)]] : [],
      ),
    ),
  );
}

function countCells({ perToken: n, bytesAbove }: NonNullable<ContenderSpeed['gpu']>): string[] {
  const calls = [n.dispatches, n.submits, n.passes, n.createdBuffers, n.readbacks];
  return [...calls.map((count) => count.toFixed(1)), (bytesAbove / 2 ** 20).toFixed(1)];
}

function logitsTable({ shape, logits }: ShapeComparison): string {
  return table(
    ['shape and prompt', 'library', 'largest difference of a logit from ours', 'deviation of the logits'],
    logits.map(({ contender, prompt, maxError, deviation }) => [
      `${shape}, ${prompt}`,
      escaped(contender),
      maxError.toFixed(4),
      deviation.toFixed(3),
    ]),
  );
}

export function peersReport({ adapter, environment, date, options, shapes }: PeersResult): string {
  const notes = shapes
    .flatMap(({ shape, contenders, failures }) => [
      ...contenders.map((c) => `${shape}, ${c.contender}: ${c.notes}`),
      ...failures.map((f) => `${shape}, ${f.contender} does not run here: ${f.message}`),
    ])
    .map((line) => `<li>${escaped(line)}</li>`);
  return page(
    `shaderloom and its peers on ${adapter.description || adapter.architecture}`,
    `<p class="quiet">${escaped(date)}, ${escaped(environment)}; ${options.runs} runs in turns, ${options.tokens} decoded tokens each</p>
<h2>Milliseconds per token</h2>${shapes.map(speedTable).join('')}
<p class="quiet">Medians; ratios of the CPU time of all processes with their range over the runs.</p>
<h2>WebGPU calls of a decoded token</h2>${shapes.map(countsTable).join('')}
<h2>Do they compute the same?</h2>${shapes.map(logitsTable).join('')}<ul>${notes.join('')}</ul>`,
  );
}
