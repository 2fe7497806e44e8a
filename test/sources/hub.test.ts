import { readdirSync, readFileSync } from 'node:fs';
import fc from 'fast-check';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { InvalidInputError, ShaderloomError, SourceError } from '../../src/errors.ts';
import { hubSource, parseHubName } from '../../src/sources/hub.ts';
import { openSource } from '../../src/sources/open-source.ts';
import { openCheckpoint } from '../../src/weights/checkpoint.ts';
import { numCases } from '../num-cases.ts';
import { serve } from './file-server.ts';
import { type HubBehaviour, type HubRepository, type HubServer, serveHub } from './hub-server.ts';
import { readCheckpoint, type Summary } from './read-checkpoint.ts';

const FOLDER = new URL('../fixtures/goldens/qwen3-dense/', import.meta.url);
const files = new Map(
  readdirSync(FOLDER).map((name) => [name, new Uint8Array(readFileSync(new URL(name, FOLDER)))]),
);
const TOKEN = 'hf_secretSecretSecret';
const repositories: Record<string, HubRepository> = {
  'Qwen/Qwen3-0.6B': { files, revisions: ['main', 'master', 'v1.0', 'refs/pr/1'] },
  'org/gated': { files, revisions: ['main'], tokens: [TOKEN] },
  'org/empty': { files: new Map([['README.md', new Uint8Array(3)]]), revisions: ['main', 'master'] },
};

const servers: HubServer[] = [];
afterEach(async () => {
  vi.unstubAllGlobals();
  await Promise.all(servers.splice(0).map((server) => server.close()));
});

async function start(behaviour?: HubBehaviour): Promise<HubServer> {
  const server = await serveHub(repositories, behaviour);
  servers.push(server);
  return server;
}

async function read(name: string, server: HubServer, token?: string): Promise<Summary> {
  const summary = await readCheckpoint(() => openSource(name, { hub: { endpoint: server.hub.url, token } }));
  expect(summary).toHaveProperty('tensors');
  return summary as Summary;
}

describe('a name', () => {
  test.each([
    ['Qwen/Qwen3-0.6B', 'hf', 'Qwen/Qwen3-0.6B', undefined],
    ['hf:Qwen/Qwen3-0.6B', 'hf', 'Qwen/Qwen3-0.6B', undefined],
    ['Qwen/Qwen3-0.6B@v1.0', 'hf', 'Qwen/Qwen3-0.6B', 'v1.0'],
    ['a/b@refs/pr/1', 'hf', 'a/b', 'refs/pr/1'],
    ['modelscope:Qwen/Qwen3-0.6B', 'modelscope', 'Qwen/Qwen3-0.6B', undefined],
    ['modelscope:a_1/b.c-d@master', 'modelscope', 'a_1/b.c-d', 'master'],
    ['https://huggingface.co/Qwen/Qwen3-0.6B', 'hf', 'Qwen/Qwen3-0.6B', undefined],
    ['https://huggingface.co/Qwen/Qwen3-0.6B/', 'hf', 'Qwen/Qwen3-0.6B', undefined],
    ['https://huggingface.co/Qwen/Qwen3-0.6B/tree/v1.0', 'hf', 'Qwen/Qwen3-0.6B', 'v1.0'],
    ['https://huggingface.co/Qwen/Qwen3-0.6B/resolve/refs%2Fpr%2F1/', 'hf', 'Qwen/Qwen3-0.6B', 'refs/pr/1'],
    ['https://modelscope.cn/models/Qwen/Qwen3-0.6B', 'modelscope', 'Qwen/Qwen3-0.6B', undefined],
    ['https://www.modelscope.cn/models/Qwen/Qwen3-0.6B/summary', 'modelscope', 'Qwen/Qwen3-0.6B', undefined],
    ['https://modelscope.cn/models/a/b/resolve/v2/', 'modelscope', 'a/b', 'v2'],
  ])('is read: %s', (text, hub, repository, revision) => {
    expect(parseHubName(text)).toEqual({ hub, repository, revision });
  });

  test.each([
    ['Qwen/Qwen3-8B-GGUF:Q4_K_M', 'hf', 'Qwen/Qwen3-8B-GGUF', undefined, '*Q4_K_M*'],
    ['hf:a/b:q8_0@v1', 'hf', 'a/b', 'v1', '*q8_0*'],
    ['a/b/c.gguf', 'hf', 'a/b', undefined, 'c.gguf'],
    ['a/b/sub/c-00001-of-00002.gguf@v1', 'hf', 'a/b', 'v1', 'sub/c-00001-of-00002.gguf'],
    ['modelscope:a/b/c.GGUF', 'modelscope', 'a/b', undefined, 'c.GGUF'],
    ['https://huggingface.co/a/b/blob/main/c.gguf', 'hf', 'a/b', 'main', 'c.gguf'],
    ['https://huggingface.co/a/b/resolve/v2/s/c%20d.gguf?download=true', 'hf', 'a/b', 'v2', 's/c d.gguf'],
    ['https://modelscope.cn/models/a/b/resolve/master/c.gguf', 'modelscope', 'a/b', 'master', 'c.gguf'],
  ])('of a GGUF file is read: %s', (text, hub, repository, revision, file) => {
    expect(parseHubName(text)).toEqual({ hub, repository, revision, file });
  });

  test.each(['a/b:', 'a/b:*', 'a/b:c d', 'a/b/../c.gguf', 'a/b//c.gguf', 'hf:a/b/./c.gguf'])(
    'of a file that no repository can have is refused: %j',
    (text) => {
      expect(() => openSource(text)).toThrow(InvalidInputError);
    },
  );

  test.each([
    'https://example.com/models/Qwen3-0.6B/',
    'https://huggingface.co/Qwen/Qwen3-0.6B/resolve/main/sub/',
    'http://localhost:8080/org/name',
    './org/name',
    '../name',
    '/org/name',
    'org/name/',
    'a/b/c',
    'name',
    '.',
    '',
  ])('is not seen in a URL: %j', (text) => {
    expect(parseHubName(text)).toBeUndefined();
  });

  test.each([
    'org/na me',
    'org/..',
    'org/a..b',
    'org/name?x=1',
    'org/name#x',
    'org/n%61me',
    'org/näme',
    'org/name\n',
    'hf:',
    'hf:name',
    'hf:a/b/c',
    'hf:../b',
    'hf:/a/b',
    'hf:https://elsewhere/a/b',
    'modelscope:a/b c',
    'modelscope:a/b@',
    'org/name@',
    'org/name@a b',
    'org/name@.',
    'org/name@a/.b',
    'org/name@../x',
    'org/name@a//b',
    'org/name@x?y',
    'org/name@a@b',
    'https://huggingface.co/org/na%20me',
    'https://huggingface.co/org/name/resolve/%2e%2e%2fx',
    'https://huggingface.co/org/name/resolve/%ff',
  ])('that no repository can have is refused: %j', (text) => {
    expect(() => openSource(text)).toThrow(InvalidInputError);
    expect(() => openSource(text)).toThrow(/Wanted/);
  });

  test('never leads elsewhere than to its own repository, whatever it is', () => {
    const part = fc.oneof(
      fc.string({ maxLength: 6 }),
      fc.constantFrom('..', '.', '%2e%2e', '\\', ':', '@', '//', 'org', '#', '?', '\t', '\u202e'),
    );
    const text = fc.array(part, { maxLength: 5 }).map((parts) => parts.join('/'));
    fc.assert(
      fc.property(fc.constantFrom('', 'hf:', 'modelscope:'), text, (prefix, text) => {
        let name: ReturnType<typeof parseHubName>;
        try {
          name = parseHubName(prefix + text);
        } catch (error) {
          expect(error).toBeInstanceOf(InvalidInputError);
          return;
        }
        if (!name) return;
        const { pathname } = new URL(
          `https://host/${name.repository}/resolve/${encodeURIComponent(name.revision ?? 'main')}/x`,
        );
        expect(pathname.split('/').length).toBe(6);
        expect(pathname.startsWith(`/${name.repository}/resolve/`)).toBe(true);
      }),
      { numRuns: numCases(2000) },
    );
  });
});

describe('a repository of a hub', () => {
  test('is read by its name, its large files from where the hub redirects to', async () => {
    const server = await start();
    const summary = await read('Qwen/Qwen3-0.6B', server);
    expect(Object.keys(summary.tensors).length).toBeGreaterThan(30);
    expect(server.hub.requests[0]?.url).toBe('/Qwen/Qwen3-0.6B/resolve/main/config.json');
    expect(server.cdn.requests.length).toBeGreaterThan(0);
    expect(server.hub.requests.some(({ headers }) => headers.authorization)).toBe(false);
  });

  test('is read at the revision that its name tells', async () => {
    const server = await start();
    expect(await read('Qwen/Qwen3-0.6B@refs/pr/1', server)).toEqual(
      await read('hf:Qwen/Qwen3-0.6B@v1.0', server),
    );
    expect(server.hub.requests[0]?.url).toBe('/Qwen/Qwen3-0.6B/resolve/refs%2Fpr%2F1/config.json');
  });

  test('is read from a mirror in a folder of its server', async () => {
    const server = await start({ prefix: '/hub/v2' });
    const endpoint = `${server.hub.url}/hub/v2/`;
    const { config } = await openCheckpoint(openSource('Qwen/Qwen3-0.6B', { hub: { endpoint } }));
    expect(config.model_type).toBe('qwen3');
  });

  test('lists its files', async () => {
    const server = await start();
    const source = openSource('Qwen/Qwen3-0.6B', { hub: { endpoint: server.hub.url } });
    expect(await source.list?.()).toEqual([...files.keys()]);
  });

  test('that holds no checkpoint tells what it holds', async () => {
    const server = await start();
    const opening = openCheckpoint(openSource('org/empty', { hub: { endpoint: server.hub.url } }));
    await expect(opening).rejects.toThrow(
      /^org\/empty on 127\.0\.0\.1:\d+: there is no config\.json.*README\.md/,
    );
  });

  describe.each([true, false])('(refusals tell their kind: %s)', (codes) => {
    async function failure(name: string, token?: string): Promise<Error> {
      const server = await start({ codes });
      const hub = { endpoint: server.hub.url, token };
      const error = await openCheckpoint(openSource(name, { hub })).catch((error: unknown) => error);
      expect(error).toBeInstanceOf(SourceError);
      expect((error as Error).message).not.toContain(TOKEN.slice(3));
      return error as Error;
    }

    test('that is gated is refused without a token, and told where to get in', async () => {
      const { message } = await failure('org/gated');
      expect(message).toContain('/org/gated');
      expect(message).toMatch(/hub: \{ token \}/);
      expect(message).toContain('https://huggingface.co/settings/tokens');
      expect(message).toMatch(
        codes ? /is gated \(401\)\. Accept its terms at http/ : /or it is private \(401\)/,
      );
    });

    test('that is gated is refused with a token of somebody else', async () => {
      const { message } = await failure('org/gated', `${TOKEN}2`);
      expect(message).toMatch(/is gated \(403\)\. Accept its terms at http.*belongs to the same account/);
    });

    test('that does not exist is told', async () => {
      expect((await failure('org/typo')).message).toMatch(/there is no such repository/);
      expect((await failure('org/typo', TOKEN)).message).toMatch(/there is no such repository/);
    });

    test('that has no such revision is told', async () => {
      const { message } = await failure('Qwen/Qwen3-0.6B@v9');
      expect(message).toMatch(
        /Qwen\/Qwen3-0\.6B@v9 on .*(no revision "v9"|no such repository or revision \(asked for v9\))/,
      );
    });
  });

  test('that is gated is read with its token, which goes to the hub and nowhere else', async () => {
    const server = await start();
    await read('org/gated', server, TOKEN);
    for (const { headers } of server.hub.requests) expect(headers.authorization).toBe(`Bearer ${TOKEN}`);
    expect(server.cdn.requests.length).toBeGreaterThan(0);
    for (const { headers, url } of server.cdn.requests) {
      expect(headers.authorization).toBeUndefined();
      expect(JSON.stringify(headers) + url).not.toContain(TOKEN);
    }
  });

  test.each([200, 206, 307, 400, 404, 429, 500])(
    'that repeats the token in all it says (%i) does not get it into a message',
    async (status) => {
      const server = await serve(new Map(), {
        answer(_, response) {
          const headers = { ETag: `"${TOKEN}"`, 'Content-Range': TOKEN, 'X-Error-Message': TOKEN };
          response.writeHead(status, TOKEN, { ...headers, Location: `http://127.0.0.1:1/${TOKEN}?${TOKEN}` });
          response.end(TOKEN);
          return true;
        },
      });
      const source = hubSource(
        { hub: 'hf', repository: 'org/name', revision: undefined },
        { endpoint: server.url, token: TOKEN },
        { retryDelay: 1 },
      );
      const error = await openCheckpoint(source).catch((error: unknown) => error);
      await server.close();
      expect(error).toBeInstanceOf(ShaderloomError);
      expect((error as Error).message).not.toContain(TOKEN);
    },
  );

  test('whose storage refuses is not mistaken for a gated one', async () => {
    const answer = (_: unknown, response: import('node:http').ServerResponse) => {
      response.writeHead(403).end();
      return true;
    };
    const server = await start({ cdn: { answer } });
    const opening = openCheckpoint(openSource('Qwen/Qwen3-0.6B', { hub: { endpoint: server.hub.url } }));
    await expect(opening).rejects.toThrow(/answered 403 Forbidden/);
  });

  test('of a server that is no hub is told', async () => {
    const server = await serveHub({}, { codes: false });
    servers.push(server);
    const opening = openCheckpoint(openSource('org/name', { hub: { endpoint: server.hub.url } }));
    await expect(opening).rejects.toThrow(/there is no such repository or revision/);
  });

  test('on ModelScope is read from its addresses, and never gets the token of Hugging Face', async () => {
    const server = await start({ style: 'modelscope', codes: false });
    const toServer = (url: URL, init?: RequestInit) => {
      expect(url.origin).toBe('https://modelscope.cn');
      return directFetch(`${server.hub.url}${url.pathname}${url.search}`, init);
    };
    const directFetch = fetch;
    vi.stubGlobal('fetch', toServer);
    const hub = { token: TOKEN, endpoint: 'https://mirror.invalid' };
    const { config } = await openCheckpoint(openSource('modelscope:Qwen/Qwen3-0.6B', { hub }));
    expect(config.model_type).toBe('qwen3');
    expect(server.hub.requests[0]?.url).toBe('/models/Qwen/Qwen3-0.6B/resolve/master/config.json');
    expect(server.hub.requests.some(({ headers }) => headers.authorization)).toBe(false);
    const empty = openCheckpoint(openSource('modelscope:org/empty', { hub }));
    await expect(empty).rejects.toThrow(/org\/empty on modelscope\.cn: there is no config\.json.*README\.md/);
    const typo = openCheckpoint(openSource('modelscope:org/typo', { hub }));
    await expect(typo).rejects.toThrow(
      /org\/typo on modelscope\.cn: there is no such repository or revision/,
    );
  });
});

describe('an option that cannot be used is refused, and a token never shown', () => {
  test.each([
    [{ token: `${TOKEN}\n` }, /hub\.token/],
    [{ token: `Bearer ${TOKEN}` }, /hub\.token/],
    [{ token: '' }, /hub\.token/],
    [{ token: `${TOKEN}…` }, /hub\.token/],
    [{ endpoint: 'hf-mirror.com' }, /hub\.endpoint is not a URL/],
    [{ endpoint: 'ftp://hf-mirror.com' }, /hub\.endpoint is "ftp:\/\/hf-mirror\.com\/"/],
    [{ endpoint: `https://user:${TOKEN}@mirror/` }, /hub\.endpoint is "https:\/\/mirror\/"/],
    [{ endpoint: `https://mirror/?token=${TOKEN}` }, /hub\.endpoint is "https:\/\/mirror\/\?…"/],
  ])('%#', (hub, message) => {
    const open = () => openSource('org/name', { hub });
    expect(open).toThrow(InvalidInputError);
    expect(open).toThrow(message);
    expect(open).not.toThrow(TOKEN);
  });
});
