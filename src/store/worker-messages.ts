/**
 * @file What a page and its store's worker say to each other: calls of the backend by name, and their results or errors. Bytes
 * move, and are not copied. Both sides import this file.
 */
import {
  ShaderloomError,
  SourceError,
  StoreBusyError,
  StoreFullError,
  StoreUnavailableError,
} from '../errors.ts';
import type { Backend } from './backend.ts';

/** The first message: where the store is. */
export interface OpenMessage {
  folder: string;
}

export interface CallMessage {
  id: number;
  method: keyof Backend;
  args: unknown[];
}

export type ReplyMessage = { id: number; result: unknown } | { id: number; error: PlainError };

/** An error as it crosses; structured cloning loses this library's classes. */
interface PlainError {
  name: string;
  message: string;
  neededBytes?: number | undefined;
  availableBytes?: number | undefined;
}

export function toPlainError(error: unknown): PlainError {
  if (error instanceof StoreFullError) {
    const { name, message, neededBytes, availableBytes } = error;
    return { name, message, neededBytes, availableBytes };
  }
  return error instanceof Error
    ? { name: error.name, message: error.message }
    : { name: '', message: String(error) };
}

const CLASSES = { SourceError, StoreBusyError, StoreUnavailableError };

export function fromPlainError({ name, message, neededBytes, availableBytes }: PlainError): Error {
  if (name === 'StoreFullError') return new StoreFullError(message, neededBytes ?? 0, availableBytes);
  const TheClass = Object.hasOwn(CLASSES, name) ? CLASSES[name as keyof typeof CLASSES] : undefined;
  return TheClass ? new TheClass(message) : new ShaderloomError(`The store failed: ${name} ${message}`);
}

/** The buffers among some values, which need not be copied. */
export function buffersOf(values: readonly unknown[]): ArrayBuffer[] {
  return values.flatMap((value) => (value instanceof Uint8Array ? [value.buffer as ArrayBuffer] : []));
}
