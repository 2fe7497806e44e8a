/** @file The list of downloaded models in the sheet about the model: load one again, or delete it. Owns the page's store. */
import { openStore, type Store, type StoredModel } from '../../src/index.ts';
import { fromAddress } from './checkpoints.ts';
import { byId, make } from './dom.ts';
import { formatBytes } from './format.ts';
import type { Checkpoint } from './model-host.ts';

export interface KeptModels {
  /** Undefined where the browser has none; models then load without it. */
  store(): Promise<Store | undefined>;
}

export interface KeptModelsEvents {
  onCheckpoint(checkpoint: Checkpoint): void;
  onError(error: unknown): void;
}

export function setUpKeptModels({ onCheckpoint, onError }: KeptModelsEvents): KeptModels {
  const dialog = byId('model-dialog', HTMLDialogElement);
  const section = byId('kept', HTMLElement);
  const list = byId('kept-models', HTMLUListElement);
  let opening: Promise<Store | undefined> | undefined;

  function store(): Promise<Store | undefined> {
    opening ??= openStore().catch(() => undefined);
    return opening;
  }

  async function refresh(): Promise<void> {
    const models = (await (await store())?.list()) ?? [];
    section.hidden = models.length === 0;
    list.replaceChildren(...models.map(entryOf));
  }

  function entryOf(model: StoredModel): HTMLLIElement {
    const { name, revision } = model;
    const load = make(
      'button',
      { className: 'button entry', type: 'button' },
      make('strong', {}, name),
      make('small', { className: 'muted' }, describe(model)),
    );
    load.addEventListener('click', () => {
      dialog.close();
      onCheckpoint(fromAddress(name));
    });
    const remove = make('button', { className: 'button quiet small', type: 'button' }, 'Delete');
    remove.setAttribute('aria-label', `Delete ${name}`);
    remove.addEventListener('click', () => {
      remove.disabled = true;
      const id = revision === undefined ? name : `${name}@${revision}`;
      void store()
        .then((opened) => opened?.delete(id))
        .then(refresh)
        .catch((error: unknown) => {
          dialog.close();
          onError(error);
        });
    });
    return make('li', { className: 'kept' }, load, remove);
  }

  byId('model-button', HTMLButtonElement).addEventListener('click', () => {
    refresh().catch(() => {
      section.hidden = true;
    });
  });
  return { store };
}

function describe({ storedBytes, totalBytes, isComplete }: StoredModel): string {
  if (isComplete) return formatBytes(storedBytes);
  return storedBytes < totalBytes
    ? `${formatBytes(storedBytes)} of ${formatBytes(totalBytes)}; loading it goes on from there`
    : `${formatBytes(storedBytes)}, not the whole model yet`;
}
