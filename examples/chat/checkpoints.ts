/** @file Where the page's checkpoints come from: the embedded ones, a hub's name, a URL, chosen or dropped folders and GGUF files. */
import { openSource } from '../../src/index.ts';
import type { Checkpoint } from './model-host.ts';

export interface EmbeddedCheckpoint extends Checkpoint {
  /** What kind of model it is, in a few words. */
  about: string;
}

const beside = (name: string, about: string): EmbeddedCheckpoint => ({
  name,
  about,
  source: new URL(`../models/${name}/`, location.href),
});

/** The tiny models that come with this page; it opens with the first. */
export const embedded: readonly [EmbeddedCheckpoint, ...EmbeddedCheckpoint[]] = [
  beside('tiny-qwen3', 'Dense, grouped-query attention, 2.6 MB'),
  beside('tiny-qwen3-moe', 'Eight experts, two at a time, 5.6 MB'),
  beside('tiny-deepseek-v3', 'Latent attention, experts, a drafting module, 4.8 MB'),
  beside('tiny-deepseek-v3-fp8', 'The same in 8 bits, 3.0 MB'),
];

/** @param address a name on a hub (`org/name`, `org/name:Q4_K_M`), or the URL of a checkpoint's folder or GGUF file; checked when it is loaded */
export function fromAddress(address: string): Checkpoint {
  const source = address.trim();
  return { name: shortName(source), source, isKept: isHubName(source) };
}

function isHubName(address: string): boolean {
  return (
    /^https:\/\/(huggingface\.co|(www\.)?modelscope\.cn)\//.test(address) || !/^(https?:|[./])/.test(address)
  );
}

function shortName(address: string): string {
  if (!URL.canParse(address)) return address.split('@')[0]!.split('/').at(-1) || address;
  const url = new URL(address);
  const parts = url.pathname.split('/').filter(Boolean);
  if (/\.gguf$/i.test(url.pathname)) return decodeURIComponent(parts.at(-1)!);
  // https://host/owner/name/resolve/main/ is how hubs address the files of a revision.
  const end = parts.indexOf('resolve');
  const name = parts.at(end > 0 ? end - 1 : -1);
  return name === undefined ? url.host : decodeURIComponent(name);
}

/** Asks for a folder. Undefined: the reader closed the picker, or there is no picker and `input` asks instead. */
export async function pickFolder(input: HTMLInputElement): Promise<Checkpoint | undefined> {
  if (!('showDirectoryPicker' in window)) {
    input.click();
    return undefined;
  }
  try {
    const handle = await (window as DirectoryPickerWindow).showDirectoryPicker();
    return { name: handle.name, source: openSource(handle) };
  } catch (error) {
    if (error instanceof DOMException && error.name === 'AbortError') return undefined;
    throw error;
  }
}

/** TypeScript's DOM library does not know the picker, and Firefox and Safari do not have it. */
interface DirectoryPickerWindow extends Window {
  showDirectoryPicker(): Promise<FileSystemDirectoryHandle>;
}

export function fromFiles(files: FileList): Checkpoint | undefined {
  const [first] = files;
  if (!first) return undefined;
  return { name: first.webkitRelativePath.split('/')[0] || first.name, source: openSource([...files]) };
}

/** Calls `onCheckpoint` for what is dropped anywhere on the page, and shows `hint` while something is dragged over it. */
export function acceptDrops(hint: HTMLElement, onCheckpoint: (checkpoint: Checkpoint) => void): void {
  const hasFiles = (event: DragEvent) => event.dataTransfer?.types.includes('Files') ?? false;
  addEventListener('dragover', (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    hint.hidden = false;
  });
  addEventListener('dragleave', (event) => {
    if (!event.relatedTarget) hint.hidden = true; // it left the window
  });
  addEventListener('drop', (event) => {
    hint.hidden = true;
    if (!event.dataTransfer || !hasFiles(event)) return;
    event.preventDefault();
    // Both must be asked now: the browser empties the DataTransfer after the event.
    const name = event.dataTransfer.items[0]?.webkitGetAsEntry()?.name ?? 'dropped files';
    onCheckpoint({ name, source: openSource(event.dataTransfer) });
  });
}
