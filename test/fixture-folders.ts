/**
 * @file The fixture folders a test runs over, the same list and the same way to read them in Node and in a page.
 * Tests loop over `fixtureFolders(kind)`; folders named in GOLDENS, TINY_MODELS and TOKENIZER_GOLDENS are in it.
 */
import { inject } from 'vitest';
import type { Source } from '../src/sources/source.ts';
import { urlSource } from '../src/sources/url-source.ts';
import type { FixtureKind, ListedFixture } from './list-fixtures.ts';

declare module 'vitest' {
  interface ProvidedContext {
    fixtures: Record<FixtureKind, ListedFixture[]>;
    /** Run every recorded answer, however slow the adapter. */
    everyCase: boolean;
  }
}

export interface Fixture {
  /** The folder's own name. */
  name: string;
  /** Names of the files in it. */
  files: string[];
  source: Source;
}

/** A page reads from the dev server with HTTP Range, Node from the disk. */
const openSource = import.meta.env.SSR
  ? await import('../src/node.ts').then(
      ({ folder }) =>
        (fixture: ListedFixture) =>
          folder(fixture.path),
    )
  : (fixture: ListedFixture) => urlSource(new URL(fixture.url, location.href));

/** The GGUF file, or the first of them, of a fixture that has nothing else. */
const wholeFile = ({ files }: ListedFixture): string | undefined =>
  files.includes('config.json') ? undefined : files.filter((name) => name.endsWith('.gguf')).sort()[0];

/** The project's own fixtures of a kind, then those of the folders named in the environment. */
export function fixtureFolders(kind: FixtureKind): Fixture[] {
  return inject('fixtures')[kind].map((fixture) => ({
    name: fixture.name,
    files: fixture.files,
    source: { ...openSource(fixture), file: wholeFile(fixture) },
  }));
}
