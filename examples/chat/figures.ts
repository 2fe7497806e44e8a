/** @file The figures under the composer, and the facts about a model in its sheet. */
import type { ChatResult, ModelInfo } from '../../src/index.ts';
import { make } from './dom.ts';
import { formatBytes, formatDuration, formatName, formatNumber } from './format.ts';
import { gpuBytes } from './model-host.ts';

/** @param result the last answer, if there is one */
export function showFigures(list: HTMLElement, info: ModelInfo, result: ChatResult | undefined): void {
  list.replaceChildren(
    ...(result
      ? [
          figure('Speed', `${formatNumber(result.timings.decodeTokensPerSecond)} tokens/s`),
          figure('First token', formatDuration(result.timings.timeToFirstToken)),
          ...speculationFigures(result),
        ]
      : []),
    figure('GPU memory', formatBytes(gpuBytes(info))),
    figure('Adapter', adapterName(info)),
  );
}

/** How many guesses were right, if there were any. */
function speculationFigures({ usage, timings }: ChatResult): HTMLElement[] {
  const { draftTokens, acceptedTokens } = usage;
  if (draftTokens === 0) return [];
  return [
    figure('Tokens per pass', timings.tokensPerStep.toFixed(2)),
    figure('Guesses kept', `${Math.round((100 * acceptedTokens) / draftTokens)} %`),
  ];
}

export function showFacts(list: HTMLElement, name: string, info: ModelInfo): void {
  list.replaceChildren(
    figure('Name', name),
    figure('Architecture', info.architecture),
    figure('Context', `${info.contextLength.toLocaleString('en')} tokens`),
    figure('Weights', `${formatBytes(info.weightBytes)} ${formatName(info.weights)}`),
    figure('KV cache', formatBytes(info.kvBytes)),
    figure('Activations', formatBytes(info.activationBytes)),
    figure('Adapter', adapterName(info)),
    figure('GPU dispatches', `${info.dispatchesPerToken} per token`),
    figure('GPU features', info.features.join(', ') || 'baseline'),
  );
}

function adapterName({ adapter }: ModelInfo): string {
  const name =
    adapter.description || [adapter.vendor, adapter.architecture].filter(Boolean).join(' ') || 'unnamed';
  return adapter.isFallback ? `${name} (software)` : name;
}

function figure(term: string, value: string): HTMLElement {
  return make('div', {}, make('dt', {}, term), make('dd', { title: value }, value));
}
