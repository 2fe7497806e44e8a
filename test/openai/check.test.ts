/** What a request asks for, and what is wrong with it. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ApiError } from '../../src/errors.ts';
import { checkChat, checkCompletion } from '../../src/openai/check.ts';
import { checkEmbedding, checkRerank } from '../../src/openai/check-reading.ts';
import { numCases } from '../num-cases.ts';

const model = { id: 'tiny', vocabSize: 1000 };
const messages = [{ role: 'user', content: 'Hi' }];
const tool = { type: 'function', function: { name: 'f', parameters: { type: 'object' } } };
const call = { id: 'a', type: 'function', function: { name: 'f', arguments: '{}' } };

function failure(check: () => unknown): ApiError {
  try {
    check();
  } catch (error) {
    if (error instanceof ApiError) return error;
    throw error;
  }
  throw new Error('nothing was wrong');
}

const chatFailure = (body: unknown): ApiError => failure(() => checkChat(body, model));

describe('a chat request', () => {
  it('that is wrong names the field, what was found and what was wanted', () => {
    const { status, type, param, message } = chatFailure({ messages, temperature: 'hot' });
    expect({ status, type, param }).toEqual({
      status: 400,
      type: 'invalid_request_error',
      param: 'temperature',
    });
    expect(message).toBe('temperature is "hot", wanted a number from 0 to 1000.');
  });

  it.each([
    ['messages', {}],
    ['messages', { messages: [] }],
    ['messages', { messages: 'Hi' }],
    ['messages[0]', { messages: ['Hi'] }],
    ['messages[0].role', { messages: [{ content: 'Hi' }] }],
    ['messages[1].role', { messages: [...messages, { role: 'robot', content: 'Hi' }] }],
    ['messages[0].role', { messages: [{ role: 'function', name: 'f', content: '1' }] }],
    ['messages[0].content', { messages: [{ role: 'user' }] }],
    ['messages[0].content', { messages: [{ role: 'user', content: 5 }] }],
    [
      'messages[0].content[1]',
      {
        messages: [
          {
            role: 'user',
            content: [
              { type: 'text', text: 'a' },
              { type: 'image_url', image_url: { url: 'x' } },
            ],
          },
        ],
      },
    ],
    ['messages[0].content', { messages: [{ role: 'assistant', content: null }] }],
    ['messages[0].tool_calls', { messages: [{ role: 'assistant', tool_calls: 'f' }] }],
    ['messages[0].tool_calls[0]', { messages: [{ role: 'assistant', tool_calls: [{ ...call, id: 5 }] }] }],
    ['messages[0].tool_call_id', { messages: [{ role: 'tool', content: '1' }] }],
    [
      'messages[0].reasoning_content',
      { messages: [{ role: 'assistant', content: '', reasoning_content: 1 }] },
    ],
    ['temperature', { messages, temperature: Number.NaN }],
    ['temperature', { messages, temperature: -1 }],
    ['top_p', { messages, top_p: 1.5 }],
    ['top_k', { messages, top_k: 0.5 }],
    ['min_p', { messages, min_p: Number.POSITIVE_INFINITY }],
    ['repetition_penalty', { messages, repetition_penalty: 0 }],
    ['presence_penalty', { messages, presence_penalty: '1' }],
    ['n', { messages, n: 1e9 }],
    ['n', { messages, n: 0 }],
    ['seed', { messages, seed: 0.5 }],
    ['max_tokens', { messages, max_tokens: 0 }],
    ['max_completion_tokens', { messages, max_completion_tokens: -5 }],
    ['stop', { messages, stop: ['', 'a'] }],
    ['stop', { messages, stop: 5 }],
    ['stop', { messages, stop: Array.from({ length: 100 }, () => 'a') }],
    ['logit_bias', { messages, logit_bias: { 1000: 1 } }],
    ['logit_bias', { messages, logit_bias: { x: 1 } }],
    ['logit_bias', { messages, logit_bias: { 5: 'much' } }],
    ['logit_bias', { messages, logit_bias: [1] }],
    ['logprobs', { messages, logprobs: 3 }],
    ['top_logprobs', { messages, logprobs: true, top_logprobs: 21 }],
    ['top_logprobs', { messages, top_logprobs: 2 }],
    ['thinking_budget', { messages, thinking_budget: -1 }],
    ['enable_thinking', { messages, enable_thinking: 'yes' }],
    ['chat_template_kwargs', { messages, chat_template_kwargs: { messages: [] } }],
    ['chat_template_kwargs.enable_thinking', { messages, chat_template_kwargs: { enable_thinking: 1 } }],
    ['tools', { messages, tools: {} }],
    ['tools[0]', { messages, tools: [{ type: 'custom', custom: { name: 'f' } }] }],
    ['tools[0].function.name', { messages, tools: [{ type: 'function', function: { name: 'a b' } }] }],
    [
      'tools[0].function.parameters',
      { messages, tools: [{ type: 'function', function: { name: 'f', parameters: 5 } }] },
    ],
    ['tools[1].function.name', { messages, tools: [tool, tool] }],
    ['tool_choice', { messages, tool_choice: 'required' }],
    ['tool_choice', { messages, tools: [tool], tool_choice: { type: 'function', function: { name: 'g' } } }],
    ['tool_choice', { messages, tools: [tool], tool_choice: 'always' }],
    ['parallel_tool_calls', { messages, parallel_tool_calls: 1 }],
    ['response_format', { messages, response_format: 'json' }],
    ['response_format.type', { messages, response_format: { type: 'xml' } }],
    ['response_format.json_schema', { messages, response_format: { type: 'json_schema' } }],
    [
      'response_format.json_schema.schema',
      { messages, response_format: { type: 'json_schema', json_schema: { schema: [] } } },
    ],
    ['response_format.pattern', { messages, response_format: { type: 'regex' } }],
    ['guided_json', { messages, guided_json: '{' }],
    ['guided_choice', { messages, guided_choice: [] }],
    ['structured_outputs.regex', { messages, structured_outputs: { regex: 5 } }],
    ['guided_regex', { messages, response_format: { type: 'json_object' }, guided_regex: 'a' }],
    ['continue_final_message', { messages, continue_final_message: true }],
    ['functions', { messages, functions: [] }],
    ['modalities', { messages, modalities: ['audio'] }],
    ['stream', { messages, stream: 'yes' }],
    ['stream_options.include_usage', { messages, stream_options: { include_usage: 1 } }],
    ['extra_body', { messages, extra_body: [] }],
    ['top_k', { messages, extra_body: { top_k: 'all' } }],
    ['metadata', { messages, metadata: { f() {} } }],
    ['model', { messages, model: 5 }],
  ])('is refused for its %s: %j', (param, body) => {
    const error = chatFailure(body);
    expect(error.status).toBe(400);
    expect(error.param).toBe(param);
    expect(error.message).toMatch(/want|Set|Flatten|Leave|Ask|give|Give|only|supported/);
  });

  it.each([null, 5, 'text', [messages]])('has to be an object, not %j', (body) => {
    expect(chatFailure(body)).toMatchObject({ status: 400, param: null });
  });

  it('for another model is told which there is', () => {
    const error = chatFailure({ messages, model: 'gpt-5' });
    expect(error).toMatchObject({ status: 404, param: 'model', code: 'model_not_found' });
    expect(error.message).toContain('"tiny"');
  });

  it('nested without end, or in a circle, is refused at once', () => {
    const deep = JSON.parse(`${'['.repeat(100_000)}${']'.repeat(100_000)}`);
    expect(chatFailure({ messages, metadata: deep }).param).toBe('metadata');
    const schema: Record<string, unknown> = { type: 'object' };
    let at = schema;
    for (let i = 0; i < 300; i++) {
      const inner = {};
      at.items = inner;
      at = inner;
    }
    expect(chatFailure({ messages, guided_json: schema }).param).toBe('guided_json');
  });

  it('takes every name that servers have for the same', () => {
    const { options } = checkChat(
      {
        model: 'tiny',
        messages: [
          {
            role: 'developer',
            content: [
              { type: 'text', text: 'a' },
              { type: 'text', text: 'b' },
            ],
          },
          { role: 'assistant', content: null, tool_calls: [call], reasoning: 'Hm.', refusal: null },
          { role: 'tool', tool_call_id: 'a', content: '1' },
        ],
        tools: [tool],
        tool_choice: { type: 'function', function: { name: 'f' } },
        max_tokens: 5,
        max_completion_tokens: 7,
        top_k: -1,
        stop: 'END',
        temperature: null,
        extra_body: { min_p: 0.1, chat_template_kwargs: { enable_thinking: false, custom: 1 } },
      },
      model,
    );
    expect(options).toMatchObject({
      maxTokens: 7,
      topK: 0,
      minP: 0.1,
      stop: ['END'],
      enableThinking: false,
      toolChoice: { name: 'f' },
      templateArgs: { thinking: false, custom: 1 },
    });
    expect(options.temperature).toBeUndefined();
    const { messages: read } = checkChat(
      {
        messages: [
          {
            role: 'developer',
            content: [
              { type: 'text', text: 'a' },
              { type: 'text', text: 'b' },
            ],
          },
        ],
      },
      model,
    );
    expect(read).toEqual([{ role: 'system', content: 'a\nb' }]);
  });

  it.each([
    [
      { guided_json: '{"type": "object"}' },
      { type: 'json_schema', json_schema: { schema: { type: 'object' } } },
    ],
    [
      { structured_outputs: { choice: ['a"b', 'c'] } },
      { type: 'grammar', grammar: 'root ::= "a\\"b" | "c"' },
    ],
    [{ guided_regex: 'a+' }, { type: 'regex', pattern: 'a+' }],
    [{ grammar: 'root ::= "a"' }, { type: 'grammar', grammar: 'root ::= "a"' }],
    [{ response_format: { type: 'text' } }, undefined],
    [{ response_format: { type: 'json_object' } }, { type: 'json_object' }],
  ])('holds the answer to %j', (body, format) => {
    expect(checkChat({ messages, ...body }, model).options.responseFormat).toEqual(format);
  });

  it('chooses among the tools', () => {
    const other = { type: 'function', function: { name: 'g' } };
    const chosen = (tool_choice: unknown) =>
      checkChat({ messages, tools: [tool, other], tool_choice }, model).options;
    expect(chosen('none').tools).toBeUndefined();
    expect(chosen('auto')).toMatchObject({ tools: [tool, other], toolChoice: undefined });
    expect(chosen('required')).toMatchObject({ tools: [tool, other], toolChoice: 'required' });
    const allowed = { type: 'allowed_tools', allowed_tools: { mode: 'required', tools: [other] } };
    expect(chosen(allowed)).toMatchObject({ tools: [other], toolChoice: 'required' });
  });
});

describe('a request for embeddings', () => {
  it.each([
    ['input', {}],
    ['input', { input: '' }],
    ['input', { input: [] }],
    ['input', { input: [1, 1000] }],
    ['input', { input: [[]] }],
    ['input', { input: Array.from({ length: 2049 }, () => 'a') }],
    ['dimensions', { input: 'a', dimensions: 0 }],
    ['dimensions', { input: 'a', dimensions: 1.5 }],
    ['encoding_format', { input: 'a', encoding_format: 'int8' }],
    ['truncate_prompt_tokens', { input: 'a', truncate_prompt_tokens: 5 }],
    ['instruction', { input: 'a', instruction: 'b' }],
    ['any_model', { input: 'a', any_model: 1 }],
  ])('is refused for its %s: %j', (param, body) => {
    expect(failure(() => checkEmbedding(body, model))).toMatchObject({ status: 400, param });
  });

  it('of another model is not found', () => {
    expect(failure(() => checkEmbedding({ model: 'b', input: 'a' }, model))).toMatchObject({ status: 404 });
  });
});

describe('a request for reranking', () => {
  const documents = ['b', { text: 'c' }];
  it.each([
    ['query', { documents }],
    ['query', { documents, query: '' }],
    ['query', { documents, query: ['a'] }],
    ['documents', { query: 'a' }],
    ['documents', { query: 'a', documents: [] }],
    ['documents', { query: 'a', documents: 'b' }],
    ['documents', { query: 'a', documents: Array.from({ length: 2049 }, () => 'a') }],
    ['documents[1]', { query: 'a', documents: ['b', 1] }],
    ['documents[0]', { query: 'a', documents: [{ title: 'b' }] }],
    ['top_n', { query: 'a', documents, top_n: -1 }],
    ['instruction', { query: 'a', documents, instruction: 1 }],
    ['return_documents', { query: 'a', documents, return_documents: 'yes' }],
  ])('is refused for its %s: %j', (param, body) => {
    expect(failure(() => checkRerank(body, model))).toMatchObject({ status: 400, param });
  });

  it('has texts, and all of them unless told', () => {
    expect(checkRerank({ query: 'a', documents, top_n: 0 }, model)).toMatchObject({
      query: 'a',
      documents: ['b', 'c'],
      topN: Number.POSITIVE_INFINITY,
      hasDocuments: false,
    });
  });
});

describe('a text request', () => {
  it.each([
    ['prompt', {}],
    ['prompt', { prompt: '' }],
    ['prompt', { prompt: [] }],
    ['prompt', { prompt: [1, 1000] }],
    ['prompt', { prompt: [[1], []] }],
    ['prompt', { prompt: ['a', 5] }],
    ['prompt', { prompt: Array.from({ length: 100 }, () => 'a'), n: 2 }],
    ['logprobs', { prompt: 'a', logprobs: true }],
    ['best_of', { prompt: 'a', best_of: 3 }],
    ['suffix', { prompt: 'a', suffix: 'b' }],
    ['guided_regex', { prompt: 'a', guided_regex: 'b' }],
    ['echo', { prompt: 'a', echo: 1 }],
    ['max_tokens', { prompt: 'a', max_tokens: -1 }],
    ['prompt_logprobs', { prompt: 'a', prompt_logprobs: -1 }],
    ['prompt_logprobs', { prompt: 'a', prompt_logprobs: 21 }],
  ])('is refused for its %s: %j', (param, body) => {
    expect(failure(() => checkCompletion(body, model))).toMatchObject({ status: 400, param });
  });

  it('has one prompt or several, as text or as ids', () => {
    const prompts = (prompt: unknown) => checkCompletion({ prompt }, model).prompts;
    expect(prompts('a')).toEqual(['a']);
    expect(prompts([1, 2])).toEqual([[1, 2]]);
    expect(prompts(['a', 'b'])).toEqual(['a', 'b']);
    expect(prompts([[1], [2, 3]])).toEqual([[1], [2, 3]]);
  });
});

describe('any JSON', () => {
  const NAMES = [
    ...['model', 'messages', 'prompt', 'n', 'seed', 'stop', 'max_tokens', 'temperature', 'top_p', 'top_k'],
    ...['logit_bias', 'logprobs', 'top_logprobs', 'tools', 'tool_choice', 'parallel_tool_calls', 'suffix'],
    ...['response_format', 'chat_template_kwargs', 'enable_thinking', 'thinking_budget', 'stream_options'],
    ...['structured_outputs', 'guided_json', 'grammar', 'extra_body', 'reasoning_effort', 'echo', 'stream'],
  ];
  const piece = fc.oneof(
    fc.jsonValue({ maxDepth: 3 }),
    fc.constantFrom<unknown>(messages, [tool], [call], 'required', 'auto', 'tiny', { type: 'json_schema' }),
    fc.array(
      fc.record(
        { role: fc.constantFrom('user', 'assistant', 'tool', 'x'), content: fc.jsonValue({ maxDepth: 2 }) },
        { requiredKeys: [] },
      ),
    ),
  );
  const anyBody = fc
    .tuple(fc.dictionary(fc.constantFrom(...NAMES), piece), fc.boolean())
    .map(([body, isLikely]) => (isLikely ? { prompt: 'a', messages, ...body } : body));

  it.each([
    ['chat', checkChat],
    ['text', checkCompletion],
  ] as const)('is a %s request, or one that is wrong in a field', (_, check) => {
    fc.assert(
      fc.property(fc.oneof(anyBody, fc.jsonValue()), (body) => {
        try {
          check(body, model);
        } catch (error) {
          expect(error).toBeInstanceOf(ApiError);
          const { status, param, message } = error as ApiError;
          expect([400, 404]).toContain(status);
          expect(message.length).toBeLessThan(800);
          const isObject = typeof body === 'object' && body !== null && !Array.isArray(body);
          if (isObject) expect(param).toMatch(/^[a-z_]+/);
        }
      }),
      { numRuns: numCases(400) },
    );
  });
});
