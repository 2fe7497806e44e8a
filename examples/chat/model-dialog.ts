/** @file The sheet about the model: ways to load another checkpoint, and how it should decode. */
import type { Speculation } from '../../src/index.ts';
import { embedded, fromAddress, fromFiles, pickFolder } from './checkpoints.ts';
import { byId, make } from './dom.ts';
import type { Checkpoint } from './model-host.ts';

export interface ModelDialog {
  /** What the reader wants of the next model that is loaded. */
  readonly speculation: Speculation | undefined;
}

export interface ModelDialogEvents {
  onCheckpoint(checkpoint: Checkpoint): void;
  /** The reader wants the present model to decode in another way. */
  onSpeculation(): void;
  onError(error: unknown): void;
}

export function setUpModelDialog({ onCheckpoint, onSpeculation, onError }: ModelDialogEvents): ModelDialog {
  const dialog = byId('model-dialog', HTMLDialogElement);
  const url = byId('url', HTMLInputElement);
  const files = byId('folder-input', HTMLInputElement);
  const speculate = byId('speculate', HTMLSelectElement);
  const wanted = new URLSearchParams(location.search).get('speculate');
  if ([...speculate.options].some(({ value }) => value === wanted)) speculate.value = wanted ?? '';
  const choose = (checkpoint: Checkpoint | undefined) => {
    if (!checkpoint) return;
    dialog.close();
    onCheckpoint(checkpoint);
  };

  byId('model-button', HTMLButtonElement).addEventListener('click', () => dialog.showModal());
  byId('url-form', HTMLFormElement).addEventListener('submit', (event) => {
    event.preventDefault();
    choose(fromAddress(url.value));
  });
  byId('embedded', HTMLUListElement).append(
    ...embedded.map((checkpoint) => {
      const { name, about } = checkpoint;
      const button = make(
        'button',
        { className: 'button entry', type: 'button' },
        make('strong', {}, name),
        make('small', { className: 'muted' }, about),
      );
      button.addEventListener('click', () => choose(checkpoint));
      return make('li', {}, button);
    }),
  );
  byId('pick-folder', HTMLButtonElement).addEventListener('click', () => {
    pickFolder(files).then(choose, (error: unknown) => {
      dialog.close();
      onError(error);
    });
  });
  speculate.addEventListener('change', () => {
    dialog.close();
    onSpeculation();
  });
  files.addEventListener('change', () => {
    choose(files.files ? fromFiles(files.files) : undefined);
    files.value = ''; // choosing the same folder again is a change again
  });
  return {
    get speculation() {
      return (speculate.value || undefined) as Speculation | undefined;
    },
  };
}
