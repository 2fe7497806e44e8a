/** @file The public API of shaderloom: the only file that apps import. */
export * from './engine/types.ts';
export * from './errors.ts';
