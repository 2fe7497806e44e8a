/** Requests in the shape of the OpenAI API, answered by the embedded tiny-qwen3: directly and over `fetch`. */
import { afterAll, beforeAll, describe, expect, it, onTestFinished, vi } from 'vitest';
import {
  ApiError,
  type ChatCompletion,
  type ChatCompletionChunk,
  type ChatCompletionRequest,
  type ChunkChoice,
  createEngine,
  type Engine,
} from '../../src/index.ts';
import { foldChat } from '../../src/openai/fold.ts';
import { calculator, citySchema, MODEL, openTinyEngine, weather } from './tiny-engine.ts';

let engine: Engine;
beforeAll(async () => {
  engine = await openTinyEngine();
});
afterAll(() => engine.dispose());

const user = (content: string) => [{ role: 'user', content }];
const SUM = user('What is 27 + 58?');
const story = { messages: user('Tell me a story.'), temperature: 0 };

/** What a stream gives, with its usage. */
async function chunksOf(request: ChatCompletionRequest): Promise<ChatCompletionChunk[]> {
  const stream = await engine.chat.completions.create({
    ...request,
    stream: true,
    stream_options: { include_usage: true },
  });
  const chunks: ChatCompletionChunk[] = [];
  for await (const chunk of stream) chunks.push(chunk);
  return chunks;
}

async function* given<T>(items: readonly T[]): AsyncGenerator<T> {
  yield* items;
}

const answered = async (request: ChatCompletionRequest) =>
  (await engine.chat.completions.create({ ...request, stream: false })).choices[0]!;

describe('a chat completion', () => {
  it('has thinking, content, usage and timings', async () => {
    const { choices, usage, timings, ...head } = await engine.chat.completions.create({
      messages: SUM,
      temperature: 0,
    });
    expect(head).toEqual({
      id: expect.stringMatching(/^chatcmpl-\w{32}$/),
      object: 'chat.completion',
      created: expect.any(Number),
      model: MODEL,
      system_fingerprint: expect.stringMatching(/^fp_[0-9a-f]{8}$/),
    });
    const { message, ...choice } = choices[0]!;
    expect(choice).toEqual({ index: 0, finish_reason: 'stop', logprobs: null });
    expect(message).toMatchObject({ role: 'assistant', content: '27 + 58 = 85.', refusal: null });
    expect(message.reasoning_content).not.toBe('');
    expect(message.reasoning).toBe(message.reasoning_content);
    expect(usage.total_tokens).toBe(usage.prompt_tokens + usage.completion_tokens);
    expect(usage.completion_tokens_details.reasoning_tokens).toBeGreaterThan(0);
    expect(usage.completion_tokens_details.reasoning_tokens).toBeLessThan(usage.completion_tokens);
    expect(timings.decode_tokens_per_second).toBeGreaterThan(0);
  });

  it.each([
    ['of a text', { messages: SUM, temperature: 0 }],
    ['of several answers', { messages: SUM, temperature: 1.2, n: 3, seed: 5 }],
    ['of calls', { messages: user('Please multiply 390 by 3509.'), tools: [calculator], temperature: 0 }],
    ['with log-probabilities', { messages: SUM, temperature: 0, logprobs: true, top_logprobs: 2 }],
  ])('%s is what its chunks make', async (_, request: ChatCompletionRequest) => {
    // With the prompt in the cache both compute the same.
    await answered({ ...request, n: 1, max_tokens: 1 });
    const chunks = await chunksOf(request);
    const folded = await foldChat(given(chunks));
    const whole = await engine.chat.completions.create({ ...request, stream: false });
    const withoutIds = (value: object) => JSON.parse(JSON.stringify(value).replaceAll(/call_\w+/g, 'call'));
    expect(withoutIds(folded.choices)).toEqual(withoutIds(whole.choices));
    expect(folded.usage.completion_tokens).toBe(whole.usage.completion_tokens);
    expect(folded.id).not.toBe(whole.id);
    const firsts = new Map<number, ChunkChoice>();
    for (const { choices } of chunks)
      for (const c of choices) if (!firsts.has(c.index)) firsts.set(c.index, c);
    expect([...firsts.keys()]).toEqual(Array.from({ length: request.n ?? 1 }, (_, i) => i));
    for (const { delta } of firsts.values()) expect(delta).toEqual({ role: 'assistant', content: '' });
    expect(chunks.at(-1)).toMatchObject({ choices: [], usage: { prompt_tokens: expect.any(Number) } });
    for (const { usage } of chunks.slice(0, -1)) expect(usage).toBeNull();
  });

  it('streams no usage unless it is asked for', async () => {
    const stream = await engine.chat.completions.create({ messages: SUM, temperature: 0, stream: true });
    for await (const chunk of stream) {
      expect(chunk.choices).toHaveLength(1);
      expect(chunk).not.toHaveProperty('usage');
    }
  });

  it('repeats with its seed, each of several answers with the next', async () => {
    const request = { messages: story.messages, temperature: 1.5, max_tokens: 20 };
    const three = await engine.chat.completions.create({ ...request, n: 3, seed: 40 });
    const texts = three.choices.map(({ message }) => `${message.reasoning_content}|${message.content}`);
    expect(new Set(texts).size).toBe(3);
    const last = await engine.chat.completions.create({ ...request, seed: 42 });
    const { message } = last.choices[0]!;
    expect(`${message.reasoning_content}|${message.content}`).toBe(texts[2]);
    // The prompt counts once.
    expect(three.usage.prompt_tokens).toBe(last.usage.prompt_tokens);
    expect(three.choices.map((c) => c.finish_reason)).toEqual(['length', 'length', 'length']);
  });

  it('thinks as asked: not at all, or up to a budget', async () => {
    const request = { messages: SUM, temperature: 0 };
    const said = new Set<string | null>();
    for (const off of [
      { enable_thinking: false },
      { chat_template_kwargs: { enable_thinking: false } },
      { reasoning_effort: 'none' },
      { thinking_budget: 0 },
    ]) {
      const { message } = await answered({ ...request, ...off });
      expect(message).not.toHaveProperty('reasoning_content');
      said.add(message.content);
    }
    expect([...said]).toEqual([expect.stringMatching(/^27 \+ 58 = \d+\.$/)]);
    const cut = await engine.chat.completions.create({ ...request, thinking_budget: 3 });
    expect(cut.choices[0]!.message.reasoning).toContain('Considering the limited time by the user');
    expect(cut.usage.completion_tokens_details.reasoning_tokens).toBeGreaterThan(3);
  });

  it('has the log-probabilities of its content', async () => {
    const { message, logprobs } = await answered({
      messages: SUM,
      temperature: 0,
      logprobs: true,
      top_logprobs: 3,
    });
    const tokens = logprobs!.content!;
    const bytes = Uint8Array.from(tokens.flatMap((token) => token.bytes!));
    expect(new TextDecoder().decode(bytes)).toBe(message.content);
    for (const { logprob, token, top_logprobs } of tokens) {
      expect(logprob).toBeLessThanOrEqual(0);
      expect(top_logprobs).toHaveLength(3);
      // Greedy takes the likeliest.
      expect(top_logprobs[0]).toMatchObject({ token, logprob });
    }
  });

  it('ends at a stop text, and prefers a token by its bias', async () => {
    const request = { messages: SUM, temperature: 0, enable_thinking: false };
    const { message, finish_reason } = await answered({ ...request, stop: ' = ' });
    expect(message.content).toBe('27 + 58');
    expect(finish_reason).toBe('stop');
    const biased = await answered({ ...request, max_tokens: 4, logit_bias: { 50: 100 } });
    const plain = await answered({ ...request, max_tokens: 4 });
    expect(biased.message.content).not.toBe(plain.message.content);
  });

  it.each([
    ['response_format', { response_format: { type: 'json_schema', json_schema: { schema: citySchema } } }],
    ['structured_outputs', { structured_outputs: { json: citySchema } }],
    ['guided_json', { guided_json: JSON.stringify(citySchema) }],
  ] as const)('is held to a schema by %s', async (_, held) => {
    const { message } = await answered({
      messages: user('The capital of Norway?'),
      temperature: 1.5,
      seed: 1,
      ...held,
    });
    const { city } = JSON.parse(message.content!) as { city: string };
    expect(citySchema.properties.city.enum).toContain(city);
  });
});

describe('tools', () => {
  const tools = [calculator, weather];

  it('are called where the request says so, whatever the model would rather do', async () => {
    const request = { messages: SUM, tools, temperature: 0 };
    for (const enable_thinking of [true, false]) {
      const named = await answered({
        ...request,
        enable_thinking,
        tool_choice: { type: 'function', function: { name: 'get_weather' } },
        max_tokens: 200,
      });
      expect(named.finish_reason).toBe('tool_calls');
      expect(named.message.content).toBeNull();
      expect(named.message.tool_calls!.map((call) => call.function.name)).toEqual(['get_weather']);
    }
    const required = await answered({ ...request, tool_choice: 'required', parallel_tool_calls: false });
    expect(required.message.tool_calls).toHaveLength(1);
    const none = await answered({ ...request, messages: user('weather in Athens'), tool_choice: 'none' });
    expect(none.message).not.toHaveProperty('tool_calls');
    expect(none.finish_reason).toBe('stop');
  });

  it('that are strict get arguments of their schema from random tokens too', async () => {
    const parameters = { ...citySchema };
    const strict = { type: 'function', function: { name: 'travel', strict: true, parameters } };
    const request = { tools: [strict, calculator], temperature: 2, max_tokens: 300 };
    for (let seed = 0; seed < 3; seed++) {
      const tool_choice = { type: 'function', function: { name: 'travel' } };
      const { message } = await answered({
        ...request,
        messages: SUM,
        seed,
        tool_choice,
        enable_thinking: false,
      });
      const args = JSON.parse(message.tool_calls![0]!.function.arguments) as { city: string };
      expect(citySchema.properties.city.enum).toContain(args.city);
    }
    // As the model likes: it opens a call by itself, and from there on the mask holds.
    const { message } = await answered({
      ...request,
      temperature: 0,
      messages: user('weather in Athens'),
      tools: [{ ...weather, function: { ...weather.function, strict: true } }, strict],
    });
    expect(message.tool_calls).toMatchObject([
      { function: { name: 'get_weather', arguments: '{"city": "Athens"}' } },
    ]);
  });

  it('have their results in the next question', async () => {
    const question = user("what's 86339 minus 31274");
    const { message } = await answered({ messages: question, tools, temperature: 0 });
    const [call] = message.tool_calls!;
    const result = { role: 'tool', tool_call_id: call!.id, content: '{"result": 55065}' };
    const next = await engine.chat.completions.create({
      messages: [...question, message, result],
      tools,
      temperature: 0,
    });
    expect(next.choices[0]!.message.content).toBe('86339 - 31274 = 55065.');
    expect(next.usage.prompt_tokens_details.cached_tokens).toBeGreaterThan(50);
  });
});

describe('a text completion', () => {
  it('answers several prompts, as text or ids, with an echo if asked', async () => {
    const prompts = ['One, two', 'Red, green'];
    const request = { temperature: 0, max_tokens: 4 };
    const both = await engine.completions.create({ ...request, prompt: prompts, n: 2, echo: true });
    expect(both.choices.map(({ index }) => index)).toEqual([0, 1, 2, 3]);
    for (const [i, { text, finish_reason }] of both.choices.entries()) {
      expect(text.startsWith(prompts[Math.floor(i / 2)]!)).toBe(true);
      expect(['length', 'stop']).toContain(finish_reason);
    }
    expect(both.usage.completion_tokens).toBeLessThanOrEqual(16);
    const stream = await engine.completions.create({
      ...request,
      prompt: prompts[0]!,
      logprobs: 1,
      stream: true,
    });
    let streamed = '';
    const tokens: string[] = [];
    for await (const { choices } of stream) {
      streamed += choices[0]!.text;
      tokens.push(...(choices[0]!.logprobs?.tokens ?? []));
    }
    expect(prompts[0] + streamed).toBe(both.choices[0]!.text);
    expect(tokens.join('')).toBe(streamed);
  });
});

describe('whoever leaves a stream', () => {
  it.each([
    ['of a chat', () => engine.chat.completions.create({ ...story, n: 2, stream: true })],
    [
      'of a text',
      () => engine.completions.create({ prompt: 'One, two', n: 2, temperature: 0, stream: true }),
    ],
  ] as const)('%s ends its generation, and the next request is answered', async (_, open) => {
    for (const leave of ['break', 'abort']) {
      const stream = await open();
      let numChunks = 0;
      for await (const _ of stream as AsyncIterable<unknown>) {
        numChunks++;
        if (numChunks === 2 && leave === 'break') break;
        if (numChunks === 2) stream.controller.abort();
      }
      expect(numChunks).toBeLessThan(8);
      const next = await engine.completions.create({ prompt: 'One, two', temperature: 0, max_tokens: 2 });
      expect(next.usage.completion_tokens).toBeGreaterThan(0);
    }
  });
});

describe('what is wrong', () => {
  it.each([
    [
      'a prompt beyond the context',
      { messages: user('long '.repeat(2000)) },
      'messages',
      'context_length_exceeded',
    ],
    [
      'a tool result without a call',
      { messages: [...SUM, { role: 'tool', tool_call_id: 'a', content: '1' }] },
      'messages[1]',
      'invalid_value',
    ],
    [
      'an impossible schema',
      {
        messages: SUM,
        response_format: { type: 'json_schema', json_schema: { schema: { type: 'nothing' } } },
      },
      'response_format',
      'invalid_value',
    ],
    ['an invalid regex', { messages: SUM, guided_regex: '(' }, 'guided_regex', 'invalid_value'],
    ['an invalid grammar', { messages: SUM, grammar: 'root ::= other' }, 'grammar', 'invalid_value'],
    [
      'an impossible strict tool',
      {
        messages: SUM,
        tools: [
          {
            type: 'function',
            function: { name: 'f', strict: true, parameters: { type: 'object', not: {} } },
          },
        ],
      },
      'tools[0].function.parameters',
      'invalid_value',
    ],
  ] as const)('with %s is told before the stream begins', async (_, body, param, code) => {
    for (const stream of [false, true]) {
      const asked = engine.chat.completions.create({ ...body, stream } as ChatCompletionRequest);
      const error = await asked.then(
        () => undefined,
        (thrown: unknown) => thrown,
      );
      expect(error).toBeInstanceOf(ApiError);
      expect(error).toMatchObject({ status: 400, param, code });
    }
  });

  it('harms no request after it', async () => {
    expect((await answered({ messages: SUM, temperature: 0 })).message.content).toBe('27 + 58 = 85.');
  });

  it('stops with the reason of the signal', async () => {
    const reason = new Error('enough');
    const stopper = new AbortController();
    const asked = engine.chat.completions.create(story, { signal: stopper.signal });
    setTimeout(() => stopper.abort(reason)); // a story takes many more turns than one
    await expect(asked).rejects.toBe(reason);
    await expect(engine.chat.completions.create(story, { signal: stopper.signal })).rejects.toBe(reason);
  });
});

describe('fetch', () => {
  const post = (body: unknown, path = '/v1/chat/completions', init: RequestInit = {}) =>
    engine.fetch(path, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: typeof body === 'string' ? body : JSON.stringify(body),
      ...init,
    });

  it.each(['/v1/chat/completions', '/chat/completions', 'https://any.example/base/v1/chat/completions/'])(
    'answers at %s',
    async (path) => {
      const response = await post({ model: MODEL, messages: SUM, temperature: 0 }, path);
      expect(response.status).toBe(200);
      expect(await response.json()).toMatchObject({ object: 'chat.completion' });
    },
  );

  it('streams server-sent events that end with [DONE]', async () => {
    const response = await post({ messages: SUM, temperature: 0, stream: true });
    expect(response.headers.get('content-type')).toBe('text/event-stream; charset=utf-8');
    const events = (await response.text()).split('\n\n');
    expect(events.splice(-2)).toEqual(['data: [DONE]', '']);
    const text = events
      .map((event) => JSON.parse(event.replace(/^data: /, '')) as ChatCompletionChunk)
      .map(({ choices }) => choices[0]!.delta.content ?? '')
      .join('');
    expect(text).toBe('27 + 58 = 85.');
  });

  it('lists the model, and finds it by a name that needs escapes', async () => {
    expect(await (await engine.fetch('/v1/models')).json()).toMatchObject({
      object: 'list',
      data: [{ id: MODEL, object: 'model', max_model_len: 640 }],
    });
    expect((await engine.fetch(`/v1/models/${MODEL}`)).status).toBe(200);
    const other = await engine.fetch('/v1/models/org%2Fother');
    expect(other.status).toBe(404);
    expect(await other.json()).toMatchObject({ error: { code: 'model_not_found' } });
  });

  it.each([
    [404, () => engine.fetch('/v1/nothing')],
    [404, () => post({}, '/v1/chat/completions/abc')],
    [404, () => post({ model: 'gpt-5', messages: SUM })],
    [405, () => engine.fetch('/v1/chat/completions')],
    [405, () => post({}, '/v1/models')],
    [413, () => post(`{"messages": "${'a'.repeat(9 * 2 ** 20)}"}`)],
    [415, () => post({ messages: SUM }, undefined, { headers: { 'content-type': 'text/plain' } })],
    [400, () => post('{"messages": ')],
    [400, () => post('[]')],
    [400, () => post('['.repeat(1_000_000))],
    [400, () => post(`{"messages": ${'['.repeat(100_000)}${']'.repeat(100_000)}}`)],
    [400, () => post({ messages: [], stream: true })],
    [
      400,
      () =>
        post(new Uint8Array([0x22, 0xff, 0x22]) as never, undefined, {
          body: new Uint8Array([0x22, 0xff, 0x22]),
        }),
    ],
  ])('refuses with %d and the body of an error', async (status, ask) => {
    const response = await ask();
    expect(response.status).toBe(status);
    expect(await response.json()).toEqual({
      error: {
        message: expect.stringMatching(/\w/),
        type: 'invalid_request_error',
        param: expect.toSatisfy((param) => param === null || typeof param === 'string'),
        code: expect.toSatisfy((code) => code === null || typeof code === 'string'),
      },
    });
  });

  it('ends the generation when the reader goes away, or the request is aborted', async () => {
    const steps = vi.spyOn(GPUQueue.prototype, 'submit');
    onTestFinished(() => steps.mockRestore());
    await post(story);
    const numOfStory = steps.mock.calls.length;
    steps.mockClear();
    const response = await post({ ...story, stream: true });
    const reader = response.body!.getReader();
    await reader.read();
    await reader.cancel();
    const stopper = new AbortController();
    const streaming = await post({ ...story, stream: true }, undefined, { signal: stopper.signal });
    stopper.abort();
    await expect(streaming.text()).rejects.toThrow(/abort/i);
    const waiting = post(story, undefined, { signal: stopper.signal });
    await expect(waiting).rejects.toThrow(/abort/i);
    await post({ messages: SUM, temperature: 0, max_tokens: 1 });
    // None of the three stories came to its end before the answer after them.
    expect(steps.mock.calls.length).toBeLessThan(numOfStory);
  });
});

/** Choices, but for the random ids of calls. */
const withoutIds = ({ choices }: ChatCompletion) =>
  JSON.parse(JSON.stringify(choices, (key, value) => (key === 'id' ? 'id' : value)));

it('answers another engine that has it as its server, as it answers directly', async () => {
  const remote = await createEngine({ baseURL: 'http://localhost/v1', fetch: engine.fetch });
  const tools = [calculator];
  for (const body of [
    { messages: SUM, temperature: 0 },
    { messages: SUM, temperature: 0, tools, tool_choice: 'required' },
    { messages: SUM, temperature: 0, enable_thinking: false, logprobs: true, top_logprobs: 2 },
    {
      messages: user('Name a city.'),
      temperature: 1,
      seed: 3,
      n: 2,
      guided_json: citySchema,
      max_tokens: 40,
    },
  ] satisfies ChatCompletionRequest[]) {
    // Both then begin with the same rows in the cache, which rows computed together are not to the last bit.
    await engine.chat.completions.create(body);
    const there = await remote.chat.completions.create(body);
    const here = await engine.chat.completions.create(body);
    expect(withoutIds(there)).toEqual(withoutIds(here));
    expect(there.usage.completion_tokens).toBe(here.usage.completion_tokens);
  }
  const refused = remote.chat.completions.create({ messages: SUM, temperature: 'hot' as never });
  await expect(refused).rejects.toMatchObject({ status: 400, param: 'temperature' });
});
