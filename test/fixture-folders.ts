/**
 * @file The fixture folders a test runs over, the same list in Node and in a page. Tests loop over
 * `fixtureFolders(kind)`; folders named in GOLDENS, TINY_MODELS and TOKENIZER_GOLDENS are in it.
 */
import { inject } from 'vitest';
import type { FixtureKind, ListedFixture } from './list-fixtures.ts';

declare module 'vitest' {
  interface ProvidedContext {
    fixtures: Record<FixtureKind, ListedFixture[]>;
  }
}

/** The project's own fixtures of a kind, then those of the folders named in the environment. */
export function fixtureFolders(kind: FixtureKind): ListedFixture[] {
  return inject('fixtures')[kind];
}
