/** @file The log of a model: which files it has, and whether all of them were there at some time. Pure. */
import type { Listing } from '../sources/hub-listing.ts';

export type ModelRecord =
  | { model: { name: string; revision?: string | undefined } }
  /** Null: what was noted before may be wrong, and is to be asked for again. */
  | { listing: Listing | null }
  /** The model has this version of a file; it replaces any that was noted before. */
  | { file: string; id: string; size: number }
  | { absent: string }
  | { complete: true };

export interface ModelState {
  name: string;
  revision: string | undefined;
  /** Also where it is in doubt: as long as nobody gives another, it says more than nothing does. */
  listing: Listing | undefined;
  isListingDoubted: boolean;
  /** By name of the file: where its journal is. */
  files: Map<string, { id: string; size: number }>;
  absent: Set<string>;
  /** All files of a load were there; their journals say whether they still are. */
  isComplete: boolean;
}

/** @returns undefined when the log does not say which model it is about */
export function readModelState(records: readonly ModelRecord[]): ModelState | undefined {
  const head = records.find((record) => 'model' in record);
  if (!head) return undefined;
  const { name, revision } = head.model;
  const state: ModelState = {
    name,
    revision,
    listing: undefined,
    isListingDoubted: false,
    files: new Map(),
    absent: new Set(),
    isComplete: false,
  };
  for (const record of records) applyModelRecord(state, record);
  return state;
}

export function applyModelRecord(state: ModelState, record: ModelRecord): void {
  if ('listing' in record) {
    state.listing = record.listing ?? state.listing;
    state.isListingDoubted = record.listing === null;
  } else if ('file' in record) {
    state.files.set(record.file, { id: record.id, size: record.size });
    state.absent.delete(record.file);
  } else if ('absent' in record) {
    state.absent.add(record.absent);
    state.files.delete(record.absent);
  } else if ('complete' in record) state.isComplete = true;
}
