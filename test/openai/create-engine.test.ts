/** Where answers come from, on a machine without WebGPU: a server, alone or in reserve. */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  ApiError,
  createEngine,
  InvalidInputError,
  SourceError,
  WebGPUUnavailableError,
} from '../../src/index.ts';
import { folder } from '../../src/node.ts';

const MODEL = fileURLToPath(new URL('../../examples/models/tiny-qwen3', import.meta.url));
const messages = [{ role: 'user', content: 'Hello' }];
const nothing = { requestAdapter: async () => null } as unknown as GPU;

let baseURL: string;
const models: unknown[] = [];
const server = createServer(async (request, response) => {
  let text = '';
  for await (const bytes of request.setEncoding('utf8')) text += bytes;
  models.push(JSON.parse(text).model);
  const choice = { index: 0, delta: { content: 'Hi.' }, finish_reason: 'stop' };
  response.writeHead(200, { 'Content-Type': 'text/event-stream' });
  response.end(`data: ${JSON.stringify({ choices: [choice] })}\n\ndata: [DONE]\n\n`);
});
beforeAll(async () => {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  baseURL = `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1`;
});
afterAll(() => server.close());

describe('an engine', () => {
  test('of a server is asked like any other, also over its own HTTP', async () => {
    const engine = await createEngine({ baseURL, model: 'big' });
    expect(engine.where).toBe('remote');
    expect(engine.info).toBeUndefined();
    const { choices } = await engine.chat.completions.create({ messages });
    expect(choices[0]!.message.content).toBe('Hi.');
    const response = await engine.fetch('/v1/chat/completions', {
      method: 'POST',
      headers: { 'Content-Type': 'application/json' },
      body: JSON.stringify({ messages, stream: true }),
    });
    expect(await response.text()).toMatch(/"content":"Hi\."[\s\S]*data: \[DONE\]\s*$/);
    expect(models.splice(0)).toEqual(['big', 'big']);
    await engine.dispose();
    await expect(engine.chat.completions.create({ messages })).rejects.toBeInstanceOf(ApiError);
  });

  test('has a server in reserve where there is no WebGPU, which stands in for the local model', async () => {
    const engine = await createEngine(folder(MODEL), {
      gpu: nothing,
      modelId: 'tiny',
      fallback: { baseURL, model: 'big' },
    });
    expect(engine.where).toBe('remote');
    await engine.chat.completions.create({ messages, model: 'tiny' });
    await engine.chat.completions.create({ messages, model: 'other' });
    await engine.chat.completions.create({ messages });
    expect(models.splice(0)).toEqual(['big', 'other', 'big']);
  });

  test('does not turn to a server for anything else that goes wrong', async () => {
    const fallback = { baseURL, model: 'big' };
    await expect(createEngine(folder(`${MODEL}-not`), { gpu: nothing, fallback })).rejects.toThrow(
      SourceError,
    );
    await expect(createEngine(folder(MODEL), { gpu: nothing, contextLength: -1, fallback })).rejects.toThrow(
      InvalidInputError,
    );
    await expect(createEngine(folder(MODEL), { gpu: nothing })).rejects.toThrow(WebGPUUnavailableError);
  });

  test('can have a worker only in a page', async () => {
    await expect(createEngine('org/name', { worker: true })).rejects.toThrow(
      /only a page can start module workers/,
    );
  });
});
