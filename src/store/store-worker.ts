/** @file The worker of `openStore()`: all disk work and hashing of a store in a browser, off the page's thread. */
import { sha1 } from '@noble/hashes/legacy.js';
import { sha256 } from '@noble/hashes/sha2.js';
import { type Backend, DiskBackend } from './backend.ts';
import type { CreateHasher } from './disk.ts';
import { OpfsDisk } from './opfs-disk.ts';
import {
  buffersOf,
  type CallMessage,
  type OpenMessage,
  type ReplyMessage,
  toPlainError,
} from './worker-messages.ts';

/** crypto.subtle takes only whole messages, and a shard comes in parts. */
const createHasher: CreateHasher = (kind) => {
  const hash = (kind === 'sha256' ? sha256 : sha1).create();
  return {
    update: (bytes) => void hash.update(bytes),
    hex: () => Array.from(hash.digest(), (byte) => byte.toString(16).padStart(2, '0')).join(''),
  };
};

/** TypeScript's DOM library describes a page, not a worker. */
const port = globalThis as unknown as {
  onmessage: (event: MessageEvent<OpenMessage | CallMessage>) => void;
  postMessage(message: ReplyMessage, transfer: Transferable[]): void;
};

let opened: Promise<Backend> | undefined;

async function answer({ id, method, args }: CallMessage): Promise<void> {
  try {
    const backend = await opened!;
    const result = await (backend[method] as (...args: unknown[]) => Promise<unknown>)(...args);
    port.postMessage({ id, result }, buffersOf([result]));
  } catch (error) {
    port.postMessage({ id, error: toPlainError(error) }, []);
  }
}

port.onmessage = ({ data }) => {
  if ('folder' in data) {
    opened = OpfsDisk.open(data.folder).then((disk) => new DiskBackend(disk, createHasher));
    opened.catch(() => undefined); // every call reports it
  } else void answer(data);
};
