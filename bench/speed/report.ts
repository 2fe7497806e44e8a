/** @file The figures of a run as one HTML file: bars against what the adapter can do, and speed over context. */
import type { KernelSpeed } from './kernels.ts';
import type { ModelSpeed } from './model.ts';
import { adapterName, type SuiteResult } from './suite.ts';

const STYLE = `
:root { color-scheme: light dark; font: 15px/1.5 system-ui, sans-serif; }
body { max-width: 62rem; margin: 3rem auto; padding: 0 1.5rem; }
h1, h2, h3 { font-weight: 600; line-height: 1.2; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; margin: 1rem 0 2rem; }
th, td { text-align: right; padding: .25rem .75rem; border-bottom: 1px solid color-mix(in srgb, currentColor 15%, transparent); }
th:first-child, td:first-child { text-align: left; }
.bar { display: inline-block; height: .6rem; background: #5b8def; border-radius: 2px; vertical-align: middle; margin-right: .5rem; }
svg { width: 100%; height: auto; } svg text { fill: currentColor; font-size: 12px; }
.quiet { opacity: .7; }`;

export const escaped = (text: string): string =>
  text.replace(/[&<>"]/g, (c) => ({ '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' })[c]!);

const row = (cells: readonly string[], tag = 'td'): string =>
  `<tr>${cells.map((cell) => `<${tag}>${cell}</${tag}>`).join('')}</tr>`;

export const table = (head: readonly string[], rows: readonly string[][]): string =>
  `<table><thead>${row(head, 'th')}</thead><tbody>${rows.map((cells) => row(cells)).join('')}</tbody></table>`;

function kernelTable(kernels: readonly KernelSpeed[]): string {
  const isBound = (k: KernelSpeed): boolean => k.rows <= 8;
  const share = (k: KernelSpeed): number => (isBound(k) ? k.ofCopy : k.ofGemm);
  return table(
    ['kernel', 'format', 'matrix', 'rows', 'ms', 'GB/s', 'GFLOP/s', 'of copy or GEMM'],
    kernels.map((k) => [
      escaped(k.kernel),
      k.format,
      k.matrix,
      String(k.rows),
      k.milliseconds.toFixed(3),
      k.gigabytesPerSecond.toFixed(1),
      k.gigaflopsPerSecond.toFixed(1),
      `<span class="bar" style="width:${Math.min(6, 6 * share(k)).toFixed(2)}rem"></span>${(100 * share(k)).toFixed(0)} %`,
    ]),
  );
}

/** Decode speed over context, a line for each model. */
function contextPlot(models: readonly ModelSpeed[]): string {
  const [width, height, left, bottom] = [640, 260, 60, 40];
  const points = models.flatMap((m) => m.contexts);
  const most = Math.max(...points.map((p) => p.decodeTokensPerSecond));
  const longest = Math.max(...points.map((p) => p.context));
  const x = (context: number): number => left + ((width - left - 20) * context) / longest;
  const y = (rate: number): number => height - bottom - ((height - bottom - 20) * rate) / most;
  const lines = models.map((m, i) => {
    const color = `hsl(${(i * 67 + 215) % 360} 65% 55%)`;
    const path = m.contexts.map((c) => `${x(c.context).toFixed(1)},${y(c.decodeTokensPerSecond).toFixed(1)}`);
    const last = m.contexts.at(-1)!;
    return (
      `<polyline points="${path.join(' ')}" fill="none" stroke="${color}" stroke-width="2"/>` +
      `<text x="${x(last.context) - 4}" y="${y(last.decodeTokensPerSecond) - 6}" text-anchor="end">${escaped(`${m.shape} ${m.weights}`)}</text>`
    );
  });
  const ticks = [...new Set(points.map((p) => p.context))].map(
    (c) => `<text x="${x(c)}" y="${height - 16}" text-anchor="middle">${c}</text>`,
  );
  return `<svg viewBox="0 0 ${width} ${height}" role="img" aria-label="decode speed over context">
<line x1="${left}" y1="${height - bottom}" x2="${width - 10}" y2="${height - bottom}" stroke="currentColor" opacity=".3"/>
<text x="${left - 8}" y="${y(most) + 4}" text-anchor="end">${most.toFixed(1)}</text><text x="${left - 8}" y="${y(0)}" text-anchor="end">0</text>
${ticks.join('')}${lines.join('')}</svg><p class="quiet">Decoded tokens a second over tokens in the context.</p>`;
}

function modelTable(models: readonly ModelSpeed[]): string {
  const mebibytes = (bytes: number): string => (bytes / 2 ** 20).toFixed(1);
  return table(
    [
      'model',
      'load s',
      'compile s',
      'weights MiB',
      'KV MiB',
      'peak MiB',
      'pipelines',
      'dispatches',
      'submits',
      'readbacks',
      'JS ms',
      'sampled / greedy',
    ],
    models.map((m) => [
      escaped(`${m.shape} ${m.weights}`),
      m.loadSeconds.toFixed(1),
      m.compileSeconds.toFixed(1),
      mebibytes(m.weightBytes),
      mebibytes(m.kvBytes),
      mebibytes(m.peakBytes),
      String(m.pipelines),
      String(m.perToken.dispatches),
      String(m.perToken.submits),
      `${m.perToken.readbacks} of ${m.perToken.readbackBytes} B`,
      m.perToken.hostMilliseconds.toFixed(3),
      m.sampledOverGreedy.toFixed(2),
    ]),
  );
}

function speedTable(models: readonly ModelSpeed[]): string {
  return table(
    ['model', 'context', 'prefill tokens/s', 'first token ms', 'decode tokens/s', 'CPU ms/token'],
    models.flatMap((m) =>
      m.contexts.map((c) => [
        escaped(`${m.shape} ${m.weights}`),
        String(c.context),
        c.prefillTokensPerSecond.toFixed(1),
        c.timeToFirstToken.toFixed(0),
        c.decodeTokensPerSecond.toFixed(2),
        c.cpuMsPerToken?.toFixed(2) ?? '',
      ]),
    ),
  );
}

/** @param body HTML */
export const page = (title: string, body: string): string => `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>${escaped(title)}</title><style>${STYLE}</style></head><body>
<h1>${escaped(title)}</h1>
${body}
</body></html>
`;

export function htmlReport({ adapter, environment, date, floors, kernels, models }: SuiteResult): string {
  return page(
    `shaderloom on ${adapterName(adapter)}`,
    `<p class="quiet">${escaped(date)}, ${escaped(environment)}; features: ${adapter.features.join(', ') || 'none'}</p>
<p>The adapter copies ${floors.copyGigabytesPerSecond.toFixed(1)} GB/s (${floors.copyMebibytes.toFixed(0)} MiB, read and written both counted) and computes ${floors.gemmGigaflopsPerSecond.toFixed(1)} GFLOP/s with a plain register-tiled f32 product of ${floors.gemmSize} x ${floors.gemmSize}. ${floors.replayDispatches} empty dispatches take ${floors.replayMilliseconds.toFixed(3)} ms of JavaScript.</p>
<h2>Models</h2>${modelTable(models)}${contextPlot(models)}${speedTable(models)}
<h2>Kernels</h2>${kernelTable(kernels)}`,
  );
}
