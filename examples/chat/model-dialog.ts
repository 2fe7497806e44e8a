/** @file The sheet about the model: ways to load another checkpoint, and how it is stored on the GPU and decodes. */
import type { LoadOptions } from '../../src/index.ts';
import { embedded, fromAddress, fromFiles, pickFolder } from './checkpoints.ts';
import { byId, make } from './dom.ts';
import type { Checkpoint } from './model-host.ts';

export interface ModelDialog {
  /** The reader's choices for the next model that is loaded. */
  readonly options: Pick<LoadOptions, 'hub' | 'speculate' | 'weights'>;
}

export interface ModelDialogEvents {
  onCheckpoint(checkpoint: Checkpoint): void;
  /** The reader wants the current model with other weights or another way to decode. */
  onOptions(): void;
  onError(error: unknown): void;
}

export function setUpModelDialog({ onCheckpoint, onOptions, onError }: ModelDialogEvents): ModelDialog {
  const dialog = byId('model-dialog', HTMLDialogElement);
  const url = byId('url', HTMLInputElement);
  const [folder, files] = ['folder-input', 'files-input'].map((id) => byId(id, HTMLInputElement)) as [
    HTMLInputElement,
    HTMLInputElement,
  ];
  const token = byId('token', HTMLInputElement);
  const [speculate, weights] = (['speculate', 'weights'] as const).map((id) => {
    const select = byId(id, HTMLSelectElement);
    const wanted = new URLSearchParams(location.search).get(id);
    if ([...select.options].some(({ value }) => value === wanted)) select.value = wanted ?? '';
    select.addEventListener('change', () => {
      dialog.close();
      onOptions();
    });
    return select;
  }) as [HTMLSelectElement, HTMLSelectElement];
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
    pickFolder(folder).then(choose, (error: unknown) => {
      dialog.close();
      onError(error);
    });
  });
  byId('pick-files', HTMLButtonElement).addEventListener('click', () => files.click());
  for (const input of [folder, files]) {
    input.addEventListener('change', () => {
      choose(input.files ? fromFiles(input.files) : undefined);
      input.value = ''; // so that choosing the same again is a change
    });
  }
  return {
    get options() {
      return {
        hub: { token: token.value.trim() || undefined },
        speculate: (speculate.value || undefined) as LoadOptions['speculate'],
        weights: weights.value as LoadOptions['weights'],
      };
    },
  };
}
