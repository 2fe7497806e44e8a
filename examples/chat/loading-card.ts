/** @file The card that shows how far loading is. */
import type { Fit, LoadProgress } from '../../src/index.ts';
import { byId } from './dom.ts';
import { formatBytes, formatName, formatSeconds } from './format.ts';

export interface LoadingCard {
  show(name: string): void;
  update(progress: LoadProgress): void;
  showFit(fit: Fit): void;
  hide(): void;
}

export function createLoadingCard(onCancel: () => void): LoadingCard {
  const card = byId('loading', HTMLElement);
  const title = byId('loading-title', HTMLElement);
  const bar = byId('loading-bar', HTMLProgressElement);
  const detail = byId('loading-detail', HTMLElement);
  const need = byId('loading-fit', HTMLElement);
  byId('loading-cancel', HTMLButtonElement).addEventListener('click', onCancel);
  return {
    show(name) {
      title.textContent = `Loading ${name}`;
      detail.textContent = 'Reading what kind of model it is';
      need.textContent = '';
      bar.removeAttribute('value');
      card.hidden = false;
    },
    update(progress) {
      detail.textContent = describe(progress);
      const isCounted = progress.phase === 'download' || progress.phase === 'weights';
      if (!isCounted || progress.totalBytes === 0) bar.removeAttribute('value');
      else bar.value = progress.loadedBytes / progress.totalBytes;
    },
    showFit({ needed, best }) {
      const { gpuBytes, weightBytes, kvBytes } = needed;
      need.textContent =
        `Needs ${formatBytes(gpuBytes)} of GPU memory: ${formatBytes(weightBytes)} for weights ${formatName(best?.weights)}, ` +
        `${formatBytes(kvBytes)} for the context, the rest for computing and loading`;
    },
    hide() {
      card.hidden = true;
    },
  };
}

function describe({
  phase,
  loadedBytes,
  totalBytes,
  loadedTensors,
  totalTensors,
  secondsLeft,
}: LoadProgress): string {
  switch (phase) {
    case 'config':
      return 'Reading what kind of model it is';
    case 'download':
    case 'weights': {
      const bytes = `${formatBytes(loadedBytes)} of ${formatBytes(totalBytes)}`;
      const parts =
        phase === 'download'
          ? [`Downloading, to keep: ${bytes}`]
          : [bytes, `${loadedTensors} of ${totalTensors} tensors`];
      if (secondsLeft !== undefined) parts.push(`${formatSeconds(Math.ceil(secondsLeft))} left`);
      return parts.join(' · ');
    }
    case 'fit':
      return 'Asking the GPU for memory';
    case 'compile':
    case 'ready':
      return 'Compiling kernels for this GPU';
    case 'tune':
      return 'Finding the fastest kernels for this GPU';
    default:
      return phase satisfies never;
  }
}
