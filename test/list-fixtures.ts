/**
 * @file Lists the fixture folders that tests run over: the project's own and those named in the environment
 * (colon-separated on Unix, semicolon-separated on Windows). Runs while Vitest is configured, so that a test in a
 * page, which cannot list a folder, gets the same list as one in Node.
 */
import { existsSync, readdirSync, statSync } from 'node:fs';
import { basename, delimiter, isAbsolute, join, relative, resolve, sep } from 'node:path';

/** What each kind of fixture is called in the environment, where the project's own are, and how to tell one. */
const KINDS = {
  goldens: { env: 'GOLDENS', own: 'test/fixtures/goldens', marker: /^(golden|sampling)\.json$/ },
  tinyModels: { env: 'TINY_MODELS', own: 'examples/models', marker: /^eval.*\.json$/ },
  tokenizerGoldens: {
    env: 'TOKENIZER_GOLDENS',
    own: 'test/fixtures/tokenizer-goldens',
    marker: /^(encode|decode|stream|chat)\.jsonl$/,
  },
} as const;

export type FixtureKind = keyof typeof KINDS;

export interface ListedFixture {
  /** The folder's own name. */
  name: string;
  /** Absolute path, for tests in Node. */
  path: string;
  /** Address on the dev server, for tests in a page; no slash at the end. */
  url: string;
  /** Names of the files in it. */
  files: string[];
}

/**
 * Every fixture of every kind, the project's own first.
 * @throws when the environment names a folder that is not there or holds no fixture: a check that silently ran
 * over nothing would look like one that passed.
 */
export function listFixtures(root: string, env: NodeJS.ProcessEnv): Record<FixtureKind, ListedFixture[]> {
  const list = (kind: FixtureKind) => [
    ...fixturesIn(resolve(root, KINDS[kind].own), kind, root),
    ...foldersOf(kind, env).flatMap((folder) => {
      if (!existsSync(folder)) throw new Error(`${KINDS[kind].env} names ${folder}, which does not exist`);
      const fixtures = fixturesIn(folder, kind, root);
      if (fixtures.length > 0) return fixtures;
      throw new Error(
        `${KINDS[kind].env} names ${folder}, but neither it nor a folder in it has a file like ${KINDS[kind].marker.source}`,
      );
    }),
  ];
  return {
    goldens: list('goldens'),
    tinyModels: list('tinyModels'),
    tokenizerGoldens: list('tokenizerGoldens'),
  };
}

/** The folders outside the project that the dev server must be allowed to serve. */
export function foreignFixtureFolders(env: NodeJS.ProcessEnv): string[] {
  return (Object.keys(KINDS) as FixtureKind[]).flatMap((kind) => foldersOf(kind, env));
}

function foldersOf(kind: FixtureKind, env: NodeJS.ProcessEnv): string[] {
  const value = env[KINDS[kind].env] ?? '';
  return value
    .split(delimiter)
    .filter((folder) => folder !== '')
    .map((folder) => resolve(folder));
}

/** The folder itself when it is a fixture, else the fixtures one level below it. */
function fixturesIn(folder: string, kind: FixtureKind, root: string): ListedFixture[] {
  if (!existsSync(folder)) return [];
  const below = readdirSync(folder)
    .sort()
    .map((name) => join(folder, name));
  return [fixture(folder, kind, root) ?? below.flatMap((path) => fixture(path, kind, root) ?? [])].flat();
}

function fixture(path: string, kind: FixtureKind, root: string): ListedFixture | undefined {
  if (!statSync(path).isDirectory()) return undefined;
  const files = readdirSync(path).sort();
  if (!files.some((file) => KINDS[kind].marker.test(file))) return undefined;
  const fromRoot = relative(root, path);
  const isForeign = fromRoot.startsWith('..') || isAbsolute(fromRoot);
  const parts = (isForeign ? path : fromRoot).split(sep).filter((part) => part !== '');
  const url = `${isForeign ? '/@fs' : ''}/${parts.map(encodeURIComponent).join('/')}`;
  return { name: basename(path), path, url, files };
}
