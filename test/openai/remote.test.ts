/** Requests that a server answers, over real HTTP: the dialects of servers of open models, their refusals, and broken connections. */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout } from 'node:timers/promises';
import { afterEach, describe, expect, test } from 'vitest';
import { ApiError, InvalidInputError } from '../../src/errors.ts';
import { foldChat, foldText } from '../../src/openai/fold.ts';
import { type RemoteOptions, remoteBackend } from '../../src/openai/remote.ts';
import type { ChatCompletionRequest } from '../../src/openai/types.ts';
import { seededRandom } from '../seeded-random.ts';
import { dialects } from './dialects.ts';

interface Asked {
  method: string;
  path: string;
  headers: IncomingMessage['headers'];
  body: Record<string, unknown>;
}

type Answer = (response: ServerResponse, asked: Asked) => unknown;

const closing: (() => Promise<void>)[] = [];
afterEach(async () => {
  await Promise.all(closing.splice(0).map((close) => close()));
});

/** A server of one answer to every POST, and of one model. */
async function serve(answer: Answer, models: readonly object[] = [{ id: 'the-model', object: 'model' }]) {
  const asked: Asked[] = [];
  const server = createServer(async (request, response) => {
    let text = '';
    for await (const bytes of request.setEncoding('utf8')) text += bytes;
    const { method = '', url = '', headers } = request;
    const one = { method, path: url, headers, body: text ? JSON.parse(text) : {} };
    asked.push(one);
    if (method === 'GET') json(response, 200, { object: 'list', data: models });
    else await answer(response, one);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  closing.push(async () => {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  });
  const baseURL = `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1`;
  const backend = (options: Partial<RemoteOptions> = {}) => remoteBackend({ baseURL, ...options });
  return { asked, baseURL, backend };
}

function json(response: ServerResponse, status: number, body: object): void {
  response.writeHead(status, { 'Content-Type': 'application/json' }).end(JSON.stringify(body));
}

function head(response: ServerResponse): ServerResponse {
  return response.writeHead(200, { 'Content-Type': 'text/event-stream; charset=utf-8' });
}

const sends =
  (text: string): Answer =>
  (response) =>
    head(response).end(text);

const hello: ChatCompletionRequest = { messages: [{ role: 'user', content: 'Is it cold in Oslo?' }] };
const ask = (backend: ReturnType<typeof remoteBackend>, body = hello) =>
  foldChat(backend.chat(body, undefined));
const refusal = (promise: Promise<unknown>): Promise<ApiError> =>
  promise.then(
    () => expect.unreachable(),
    (error) => {
      expect(error).toBeInstanceOf(ApiError);
      return error;
    },
  );

const DONE =
  'data: {"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n';

describe('the answer of', () => {
  test.each(Object.entries(dialects))('%s comes out the same', async (_, { stream, usage }) => {
    const { backend } = await serve(sends(stream));
    const completion = await ask(backend());
    expect(completion.choices).toEqual([
      {
        index: 0,
        message: {
          role: 'assistant',
          content: 'Looking.',
          refusal: null,
          reasoning_content: 'Let me see.',
          reasoning: 'Let me see.',
          tool_calls: [
            {
              id: 'call_1',
              type: 'function',
              function: { name: 'get_weather', arguments: expect.any(String) },
            },
          ],
        },
        finish_reason: 'tool_calls',
        logprobs: null,
      },
    ]);
    const [call] = completion.choices[0]!.message.tool_calls!;
    expect(JSON.parse(call!.function.arguments)).toEqual({ city: 'Oslo' });
    expect(completion.usage).toMatchObject({
      prompt_tokens: usage.prompt_tokens,
      completion_tokens: usage.completion_tokens,
      total_tokens: usage.prompt_tokens + usage.completion_tokens,
      prompt_tokens_details: { cached_tokens: usage.cached_tokens ?? 0 },
    });
    expect(completion.timings.time_to_first_token).toBeGreaterThan(0);
  });

  test('llama.cpp has its own timings', async () => {
    const { backend } = await serve(sends(dialects['llama.cpp']!.stream));
    const { timings } = await ask(backend());
    expect(timings).toMatchObject({ prefill_tokens_per_second: 2000, decode_tokens_per_second: 64.5 });
  });

  test('a server that does not stream is one chunk', async () => {
    const message = { role: 'assistant', content: 'No.', reasoning: 'Hm.' };
    const usage = { prompt_tokens: 3, completion_tokens: 2, total_tokens: 5 };
    const choices = [{ index: 0, message, finish_reason: 'stop' }];
    const { backend } = await serve((response) => json(response, 200, { id: 'x', choices, usage }));
    const completion = await ask(backend());
    expect(completion.choices[0]).toMatchObject({ message: { content: 'No.', reasoning_content: 'Hm.' } });
    expect(completion.usage.total_tokens).toBe(5);
  });

  test('plain completions has text and log-probabilities', async () => {
    const logprobs = { tokens: ['b'], token_logprobs: [-0.5], top_logprobs: [{ b: -0.5 }], text_offset: [0] };
    const chunks = [
      { choices: [{ index: 0, text: 'b', finish_reason: null, logprobs }] },
      { choices: [{ index: 0, text: 'c', finish_reason: 'length', logprobs: null }] },
    ];
    const { backend, asked } = await serve(
      sends(chunks.map((c) => `data: ${JSON.stringify(c)}\n\n`).join('')),
    );
    const completion = await foldText(backend().complete({ prompt: 'a', max_tokens: 2 }, undefined));
    expect(completion.choices).toEqual([{ index: 0, text: 'bc', finish_reason: 'length', logprobs }]);
    expect(asked.at(-1)).toMatchObject({ path: '/v1/completions', body: { prompt: 'a', max_tokens: 2 } });
  });

  test('what a prompt is said to be like comes with whole answers', async () => {
    const prompt_logprobs = [null, { 5: { logprob: -1, rank: 2, decoded_token: 'a' } }];
    const choices = [{ index: 0, text: 'b', finish_reason: 'length', logprobs: null, prompt_logprobs }];
    const { backend, asked } = await serve((response) => json(response, 200, { choices }));
    const body = { prompt: 'a', prompt_logprobs: 0, stream: true, stream_options: { include_usage: true } };
    const completion = await foldText(backend().complete(body, undefined));
    expect(completion.choices).toEqual(choices);
    expect(asked.at(-1)!.body).toEqual({
      model: 'the-model',
      prompt: 'a',
      prompt_logprobs: 0,
      stream: false,
    });
  });

  test('embeddings and reranking are what the server says, without what only models here understand', async () => {
    const vectors = { object: 'list', data: [{ object: 'embedding', index: 0, embedding: [1, 0] }] };
    const ranks = { id: 'r', results: [{ index: 1, relevance_score: 0.5 }] };
    const { backend, asked } = await serve((response, { path }) =>
      json(response, 200, path.endsWith('rerank') ? ranks : vectors),
    );
    const server = backend({ model: 'm' });
    const extra = { any_model: true, dimensions: null, extra_body: { truncate_prompt_tokens: 5 } };
    expect(await server.embed({ input: 'a', ...extra }, undefined)).toEqual(vectors);
    expect(asked.at(-1)).toMatchObject({ method: 'POST', path: '/v1/embeddings' });
    expect(asked.at(-1)!.body).toEqual({ model: 'm', input: 'a', truncate_prompt_tokens: 5 });
    expect(await server.rerank({ query: 'q', documents: ['a', 'b'], top_n: 1 }, undefined)).toEqual(ranks);
    expect(asked.at(-1)).toMatchObject({
      path: '/v1/rerank',
      body: { model: 'm', query: 'q', documents: ['a', 'b'], top_n: 1 },
    });
  });

  test('embeddings that a server refuses, or does not understand, are its error', async () => {
    const refusing = await serve((response) =>
      json(response, 400, { error: { message: 'No.', param: 'input' } }),
    );
    const refused = await refusal(refusing.backend().embed({ input: 'a' }, undefined));
    expect(refused).toMatchObject({ status: 400, param: 'input' });
    const odd = await serve((response) => json(response, 200, { answer: 'a' }));
    expect(await refusal(odd.backend().embed({ input: 'a' }, undefined))).toMatchObject({ status: 502 });
    const aborted = odd.backend().embed({ input: 'a' }, AbortSignal.abort(new Error('enough')));
    await expect(aborted).rejects.toThrow('enough');
  });

  test('a server is the same when its bytes come in pieces', async () => {
    const seed = Math.floor(Math.random() * 2 ** 31);
    const random = seededRandom(seed);
    const bytes = Buffer.from(dialects['llama.cpp']!.stream.replace('Looking.', 'Looking… 👩‍🚀'));
    const { backend } = await serve(async (response) => {
      head(response);
      for (let begin = 0; begin < bytes.length; ) {
        const end = begin + 1 + Math.floor(random() * 60);
        response.write(bytes.subarray(begin, end));
        begin = end;
        await setTimeout(0);
      }
      response.end();
    });
    const completion = await ask(backend());
    expect(completion.choices[0]!.message.content, `seed ${seed}`).toBe('Looking… 👩‍🚀');
  });
});

describe('a request', () => {
  async function sent(body: Partial<ChatCompletionRequest>, options: Partial<RemoteOptions> = {}) {
    const { backend, asked } = await serve(sends(DONE));
    await ask(backend(options), { ...hello, ...body });
    return asked.at(-1)!;
  }

  test('has the key, headers of the caller, and asks for a stream with its usage', async () => {
    const { path, headers, body } = await sent({}, { apiKey: 'secret', headers: { 'X-Org': 'us' } });
    expect(path).toBe('/v1/chat/completions');
    expect(headers).toMatchObject({ authorization: 'Bearer secret', 'x-org': 'us' });
    expect(body).toMatchObject({ stream: true, stream_options: { include_usage: true } });
  });

  test('names its own model, else that of the options, else the first that the server lists', async () => {
    expect((await sent({ model: 'a' }, { model: 'b' })).body.model).toBe('a');
    expect((await sent({}, { model: 'b' })).body.model).toBe('b');
    expect((await sent({})).body.model).toBe('the-model');
  });

  test('leaves out what is null, and merges `extra_body`', async () => {
    const { body } = await sent({ temperature: null, extra_body: { top_k: 5, mirostat: 2 } });
    expect(body).toMatchObject({ top_k: 5, mirostat: 2 });
    expect(Object.keys(body)).not.toContain('temperature');
    expect(Object.keys(body)).not.toContain('extra_body');
  });

  test.each<[string, Partial<ChatCompletionRequest>, object]>([
    [
      'switches thinking off in the template',
      { enable_thinking: false },
      { chat_template_kwargs: { enable_thinking: false } },
    ],
    [
      'switches thinking off for a budget of 0',
      { thinking_budget: 0, chat_template_kwargs: { a: 1 } },
      { chat_template_kwargs: { enable_thinking: false, a: 1 } },
    ],
    [
      'limits tokens under both names',
      { max_completion_tokens: 7 },
      { max_tokens: 7, max_completion_tokens: 7 },
    ],
    [
      'has the penalty of repetitions under both names',
      { repetition_penalty: 1.1 },
      { repetition_penalty: 1.1, repeat_penalty: 1.1 },
    ],
    [
      'asks for JSON of a schema as OpenAI does',
      { guided_json: { type: 'object' } },
      {
        response_format: {
          type: 'json_schema',
          json_schema: { name: 'answer', schema: { type: 'object' }, strict: true },
        },
      },
    ],
    [
      'asks for JSON as OpenAI does',
      { structured_outputs: { json_object: true } },
      { response_format: { type: 'json_object' } },
    ],
    [
      'asks for a pattern as vLLM and SGLang do',
      { response_format: { type: 'regex', pattern: '[0-9]+' } },
      { structured_outputs: { regex: '[0-9]+' }, regex: '[0-9]+' },
    ],
    [
      'asks for a grammar as vLLM, llama.cpp and SGLang do',
      { guided_grammar: 'root ::= "a"' },
      { structured_outputs: { grammar: 'root ::= "a"' }, grammar: 'root ::= "a"', ebnf: 'root ::= "a"' },
    ],
    [
      'asks for one of some texts as vLLM does',
      { guided_choice: ['a', 'b'] },
      { structured_outputs: { choice: ['a', 'b'] } },
    ],
    [
      'goes on with the last message as vLLM does',
      { continue_final_message: true },
      { continue_final_message: true, add_generation_prompt: false },
    ],
  ])('%s', async (_, given, wanted) => {
    const { body } = await sent(given);
    const standard = ['model', 'messages', 'stream', 'stream_options', 'thinking_budget'];
    expect(Object.fromEntries(Object.entries(body).filter(([key]) => !standard.includes(key)))).toEqual(
      wanted,
    );
  });

  test('has earlier thinking under both names, and `developer` as `system`', async () => {
    const { body } = await sent({
      messages: [
        { role: 'developer', content: 'Be short.' },
        { role: 'assistant', content: 'Yes.', reasoning: 'Hm.' },
      ],
    });
    expect(body.messages).toEqual([
      { role: 'system', content: 'Be short.' },
      { role: 'assistant', content: 'Yes.', reasoning: 'Hm.', reasoning_content: 'Hm.' },
    ]);
  });
});

describe('a refusal', () => {
  const refused = async (status: number, body: object) => {
    const { backend } = await serve((response) => json(response, status, body));
    return refusal(ask(backend()));
  };

  test('of OpenAI and vLLM keeps every field', async () => {
    const error = { message: 'too long', type: 'invalid_request_error', param: 'messages', code: 'too_long' };
    expect(await refused(400, { error })).toMatchObject({
      status: 400,
      type: 'invalid_request_error',
      param: 'messages',
      code: 'too_long',
      message: expect.stringContaining('too long'),
    });
  });

  test.each<[string, object]>([
    ['older vLLM', { object: 'error', message: 'no such thing', type: 'NotFoundError', code: 404 }],
    ['Ollama', { error: 'no such thing' }],
    ['llama.cpp', { error: { code: 404, message: 'no such thing', type: 'not_found_error' } }],
    ['FastAPI', { detail: [{ loc: ['body'], msg: 'no such thing' }] }],
  ])('of %s tells why, and what to look at', async (_, body) => {
    expect(await refused(404, body)).toMatchObject({
      status: 404,
      message: expect.stringMatching(/chat\/completions: .*no such thing.*baseURL/),
    });
  });

  test('for a missing key says which option it is', async () => {
    expect(await refused(401, { error: { message: 'Unauthorized' } })).toMatchObject({
      status: 401,
      message: expect.stringContaining('apiKey'),
    });
  });

  test('need not be JSON', async () => {
    const { backend } = await serve((response) => response.writeHead(502).end('<h1>Bad gateway</h1>'));
    expect(await refusal(ask(backend()))).toMatchObject({
      status: 502,
      message: expect.stringContaining('Bad'),
    });
  });

  test.each<[string, string]>([
    ['vLLM', 'data: {"error": {"message": "engine died", "type": "InternalServerError", "code": 500}}\n\n'],
    ['older vLLM', 'data: {"object": "error", "message": "engine died", "code": 500}\n\n'],
    ['an event of its own', 'event: error\ndata: {"error": "engine died"}\n\n'],
  ])('may come in the middle of a stream (%s)', async (_, text) => {
    const { backend } = await serve(
      sends(`data: {"choices":[{"index":0,"delta":{"content":"a"}}]}\n\n${text}`),
    );
    const got: string[] = [];
    const listen = async () => {
      for await (const { choices } of backend().chat(hello, undefined)) got.push(choices[0]!.delta.content!);
    };
    expect(await refusal(listen())).toMatchObject({ status: 500, message: 'engine died' });
    expect(got).toEqual(['a']);
  });
});

describe('a server', () => {
  test('that is not there is named', async () => {
    const { backend, baseURL } = await serve(() => undefined);
    await Promise.all(closing.splice(0).map((close) => close()));
    const { status, type, message } = await refusal(ask(backend()));
    expect({ status, type }).toEqual({ status: 503, type: 'connection_error' });
    expect(message).toContain(`${baseURL}/models gave no answer`);
  });

  test('that breaks off is an error, and never half an answer taken for a whole one', async () => {
    const part = 'data: {"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":null}]}\n\n';
    const ends = await serve(sends(part));
    expect(await refusal(ask(ends.backend()))).toMatchObject({ status: 502 });
    const saysDone = await serve(sends(`${part}data: [DONE]\n\n`));
    expect(await refusal(ask(saysDone.backend()))).toMatchObject({ status: 502 });
    const cut = await serve((response) => {
      head(response).write(part, () => response.destroy());
    });
    expect(await refusal(ask(cut.backend()))).toMatchObject({ status: 503, type: 'connection_error' });
  });

  test.each(['<!doctype html>', '[1]', 'null'])(
    'that answers %s is told from one of this API',
    async (text) => {
      const { backend } = await serve((response) => response.writeHead(200).end(text));
      expect(await refusal(ask(backend()))).toMatchObject({
        status: 502,
        message: expect.stringContaining(text),
      });
      const events = await serve(sends(`data: ${text}\n\n`));
      expect(await refusal(ask(events.backend()))).toMatchObject({ status: 502 });
    },
  );

  test('without a model says so', async () => {
    const { backend } = await serve(sends(DONE), []);
    expect(await refusal(ask(backend()))).toMatchObject({
      status: 404,
      message: expect.stringContaining('no model'),
    });
  });

  test('lists its models', async () => {
    const { backend } = await serve(sends(DONE), [
      { id: 'a', max_model_len: 4096, owned_by: 'vllm' },
      { id: 'b' },
    ]);
    expect(await backend().models()).toEqual([
      { id: 'a', object: 'model', created: 0, owned_by: 'vllm', max_model_len: 4096 },
      { id: 'b', object: 'model', created: 0, owned_by: '' },
    ]);
  });

  test('hears of an abort, and of a listener who leaves', async () => {
    let numGone = 0;
    const endless: Answer = async (response) => {
      head(response);
      response.on('close', () => numGone++);
      while (!response.destroyed) {
        response.write('data: {"choices":[{"index":0,"delta":{"content":"a"}}]}\n\n');
        await setTimeout(5);
      }
    };
    const { backend } = await serve(endless);
    const controller = new AbortController();
    const reason = new Error('enough');
    const listen = async () => {
      for await (const _ of backend().chat(hello, controller.signal)) controller.abort(reason);
    };
    await expect(listen()).rejects.toBe(reason);
    for await (const _ of backend().chat(hello, undefined)) break;
    await expect.poll(() => numGone).toBe(2);
    const disposed = backend();
    const waiting = refusal(ask(disposed));
    await setTimeout(20);
    await disposed.dispose();
    expect(await waiting).toMatchObject({ status: 503, message: expect.stringContaining('disposed') });
  });
});

describe('options', () => {
  test.each(['', 'localhost:8000', 'ftp://a/v1', 'a b'])('with the address %j are refused', (baseURL) => {
    expect(() => remoteBackend({ baseURL })).toThrow(InvalidInputError);
  });

  test('may have a fetch, and an address with a slash and a query', async () => {
    const urls: string[] = [];
    const fetch = async (input: string) => {
      urls.push(input);
      return new Response(DONE, { headers: { 'Content-Type': 'text/event-stream' } });
    };
    const backend = remoteBackend({ baseURL: 'https://host/api/v1/?version=2', model: 'm', fetch });
    expect((await ask(backend)).choices[0]!.message.content).toBe('a');
    expect(urls).toEqual(['https://host/api/v1/chat/completions?version=2']);
  });

  test('cannot make a request of what is no JSON', async () => {
    const backend = remoteBackend({ baseURL: 'http://localhost/v1', model: 'm' });
    const cyclic: Record<string, unknown> = {};
    cyclic.self = cyclic;
    expect(await refusal(ask(backend, { ...hello, extra_body: cyclic }))).toMatchObject({ status: 400 });
    expect(await refusal(ask(backend, null as never))).toMatchObject({ status: 400 });
  });
});
