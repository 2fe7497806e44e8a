/** @file What a store needs from its platform: files by path, and hashes that take their bytes in parts. */
import type { StoreEstimate } from './types.ts';

/** Files by path, with at most two levels. Missing folders are made. Failures are typed errors. */
export interface Disk {
  read(path: string): Promise<Uint8Array | undefined>;
  /** Replaces a whole file. @throws StoreFullError when there is no room; then the file is gone */
  write(path: string, bytes: Uint8Array): Promise<void>;
  /** @throws StoreFullError when there is no room; then a part may have been written */
  append(path: string, bytes: Uint8Array): Promise<void>;
  /** Does nothing when there is no such file. */
  remove(path: string): Promise<void>;
  list(folder: string): Promise<{ name: string; size: number }[]>;
  estimate(): Promise<StoreEstimate>;
}

/** A hash that is being computed. */
export interface Hasher {
  update(bytes: Uint8Array): void;
  hex(): string;
}

export type CreateHasher = (kind: 'sha256' | 'sha1') => Hasher;

const textEncoder = new TextEncoder();

/** The sha256 of some bytes, or of a text's UTF-8, as hex. */
export async function sha256(data: Uint8Array | string): Promise<string> {
  const bytes = typeof data === 'string' ? textEncoder.encode(data) : data;
  const digest = await crypto.subtle.digest('SHA-256', bytes as Uint8Array<ArrayBuffer>);
  return Array.from(new Uint8Array(digest), (byte) => byte.toString(16).padStart(2, '0')).join('');
}
