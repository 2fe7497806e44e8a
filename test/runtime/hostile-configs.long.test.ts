/** Thousands of hostile configs: each is understood, or refused with a typed error before any weights are read. */
import { readdirSync, readFileSync } from 'node:fs';
import fc from 'fast-check';
import { afterEach, describe, expect, test } from 'vitest';
import { ShaderloomError } from '../../src/errors.ts';
import { familyOf } from '../../src/models/index.ts';
import { folder } from '../../src/node.ts';
import { samplingDefaults, stopTokensOf } from '../../src/runtime/load/generation-config.ts';
import { openModel } from '../../src/runtime/load/load.ts';

type Json = Record<string, unknown>;

const GOLDENS = new URL('../fixtures/goldens/', import.meta.url);
const names = readdirSync(GOLDENS).filter((name) => /^(qwen|deepseek)/.test(name));
const configs = names.map(
  (name) => JSON.parse(readFileSync(new URL(`${name}/config.json`, GOLDENS), 'utf8')) as Json,
);
const keys = [
  ...new Set(
    configs.flatMap((config) => [
      ...Object.keys(config),
      ...Object.keys((config.rope_scaling as Json) ?? {}),
    ]),
  ),
];

const value = fc.oneof(
  fc.constantFrom<unknown>(
    -1,
    0,
    1,
    3,
    0.5,
    2 ** 31,
    2 ** 53,
    1e308,
    -1e308,
    null,
    true,
    false,
    '',
    'yarn',
    [],
    {},
    [[]],
    ['a'],
  ),
  fc.jsonValue({ maxDepth: 1 }),
  fc.nat(3).map((power) => JSON.parse('['.repeat(10 ** power) + ']'.repeat(10 ** power)) as unknown),
);
const key = fc.oneof(
  fc.constantFrom(...keys),
  fc.constantFrom('__proto__', 'constructor', 'toString', 'new_key'),
);
const mutation = fc.record({ key, value, kind: fc.constantFrom('set', 'delete', 'inside') });

/** As it would come out of JSON.parse, so that `__proto__` is a key. */
function mutate(config: Json, mutations: readonly { key: string; value: unknown; kind: string }[]): Json {
  const entries = new Map(Object.entries(config));
  for (const { key, value, kind } of mutations) {
    if (kind === 'delete') entries.delete(key);
    else if (kind === 'set') entries.set(key, value);
    else {
      const name = entries.has('rope_scaling') ? 'rope_scaling' : 'quantization_config';
      entries.set(name, { ...(entries.get(name) as Json), [key]: value });
    }
  }
  return Object.fromEntries(entries);
}

async function attempt(work: () => unknown): Promise<void> {
  try {
    await work();
  } catch (error) {
    if (!(error instanceof ShaderloomError)) throw error;
  }
}

afterEach(() => expect(Object.keys(Object.prototype)).toEqual([]));

const mutated = fc
  .tuple(fc.nat(names.length - 1), fc.array(mutation, { minLength: 1, maxLength: 3 }))
  .map(([index, mutations]) => ({ name: names[index]!, config: mutate(configs[index]!, mutations) }));

describe('hostile configs', () => {
  test('5,000 are understood or refused', async () => {
    await fc.assert(
      fc.asyncProperty(mutated, ({ config }) =>
        attempt(() => {
          familyOf(config).config(config);
          samplingDefaults(config);
          stopTokensOf(config, config);
        }),
      ),
      { numRuns: 5000 },
    );
  });

  test('300 over a real checkpoint are planned or refused', async () => {
    await fc.assert(
      fc.asyncProperty(mutated, ({ name, config }) => {
        const source = folder(new URL(name, GOLDENS).pathname);
        const bytes = new TextEncoder().encode(JSON.stringify(config));
        const readFile: typeof source.readFile = async (file, options) =>
          file === 'config.json' ? bytes : source.readFile(file, options);
        return attempt(() => openModel({ ...source, readFile }, { contextLength: 16, prefillRows: 8 }));
      }),
      { numRuns: 300 },
    );
  });
});
