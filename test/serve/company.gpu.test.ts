/** Many requests at once, over `engine.fetch` and over HTTP: each is answered as if it were alone, and nothing stays behind. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { createEngine, type Engine } from '../../src/index.ts';
import { serve } from '../../src/serve.ts';
import { fixtureFolders } from '../fixture-folders.ts';
import { freshSeed, seededRandom } from '../kernels/harness.ts';
import { watchBuffers } from '../runtime/watched-gpu.ts';

const NUM_REQUESTS = process.env.EVERY_CASE === '1' ? 100 : 24;
const { source } = fixtureFolders('tinyModels').find(({ name }) => name === 'tiny-qwen3')!;
const seed = freshSeed();
const random = seededRandom(seed);
const below = (n: number): number => Math.floor(random() * n);

const questions = ['What is', 'Tell me about', 'Is it', 'Count', 'Why'];
const requests = Array.from({ length: NUM_REQUESTS }, (_, i) => ({
  messages: [
    ...(i % 3 === 0 ? [{ role: 'system', content: 'You are a helpful assistant who answers briefly.' }] : []),
    { role: 'user', content: `${questions[below(questions.length)]} ${below(100)} + ${below(100)}?` },
  ],
  temperature: i % 2 === 0 ? 0 : 0.8,
  seed: i,
  max_tokens: 8 + below(24),
  stream: i % 4 === 0,
}));
type Body = (typeof requests)[number];

let engine: Engine;
beforeAll(async () => {
  engine = await createEngine(source, { contextLength: 256, cacheTokens: 1024 });
}, 60_000);
afterAll(() => engine.dispose());

/** Thinking and content of an answer, whether it comes at once or in pieces. */
async function answerOf(fetch: typeof globalThis.fetch, url: string, body: Body): Promise<string> {
  const response = await fetch(`${url}/chat/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
  });
  expect(response.status).toBe(200);
  const text = await response.text();
  const parts = body.stream
    ? text
        .split('\n')
        .filter((line) => line.startsWith('data: {'))
        .map((line) => JSON.parse(line.slice(6)).choices[0]?.delta ?? {})
    : [JSON.parse(text).choices[0].message];
  const all = (key: string): string => parts.map((part) => part[key] ?? '').join('');
  return JSON.stringify([all('reasoning_content'), all('content')]);
}

it(`${NUM_REQUESTS} requests at once, over fetch and over a server, have the answers that each has alone`, async () => {
  const local = ((input: string, init: RequestInit) =>
    engine.fetch(new Request(input, init))) as typeof globalThis.fetch;
  const alone: string[] = [];
  for (const body of requests) alone.push(await answerOf(local, 'http://localhost/v1', body));
  await watchBuffers(async (live) => {
    const before = live.bytes;
    const together = await Promise.all(requests.map((body) => answerOf(local, 'http://localhost/v1', body)));
    expect(together, `seed ${seed}`).toEqual(alone);
    const grown = live.bytes;
    const server = await serve(engine, { port: 0, maxRequests: NUM_REQUESTS });
    try {
      const served = await Promise.all(requests.map((body) => answerOf(fetch, server.url, body)));
      expect(served, `seed ${seed}`).toEqual(alone);
    } finally {
      await server.close();
    }
    // What the first of them made for company is there for the next; nothing more is made.
    expect(live.bytes).toBe(grown);
    expect(grown).toBeGreaterThanOrEqual(before);
  });
}, 300_000);
