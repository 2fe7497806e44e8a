/** Whole answers of the embedded tiny-qwen3, which was trained to call two tools and to answer when its thinking is cut. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Answer } from '../../src/chat/answer.ts';
import { createMessageBuilder } from '../../src/chat/message.ts';
import { MessageParser } from '../../src/chat/message-parser.ts';
import {
  type ChatDelta,
  type ChatOptions,
  InvalidInputError,
  loadModel,
  type Model,
  runTools,
  type Tool,
  ToolStepLimitError,
} from '../../src/index.ts';
import { samplingParams } from '../../src/runtime/load/generation-config.ts';
import { openModel, type StartedModel, startModel } from '../../src/runtime/load/load.ts';
import { Tokenizer } from '../../tokenizer/index.ts';
import { fixtureFolders } from '../fixture-folders.ts';
import { citySchema } from '../openai/tiny-engine.ts';

const tiny = fixtureFolders('tinyModels').find((f) => f.name === 'tiny-qwen3')!.source;
const CONTEXT = 640;
const greedy = { temperature: 0 } satisfies ChatOptions;
const SENTENCE =
  'Considering the limited time by the user, I have to give the solution based on the thinking directly now.';

const user = (content: string) => [{ role: 'user', content }];
const text = { type: 'string' };

/** The tools of the model's training, with results written as there. */
const tools = {
  calculator: {
    description: 'Evaluate an arithmetic expression.',
    parameters: { type: 'object', properties: { expression: text }, required: ['expression'] },
    run({ expression }) {
      const [a, operator, b] = String(expression).split(' ');
      const sign = operator === '-' ? -1 : 1;
      return `{"result": ${operator === '*' ? Number(a) * Number(b) : Number(a) + sign * Number(b)}}`;
    },
  },
  get_weather: {
    description: 'Get the weather in a city.',
    parameters: { type: 'object', properties: { city: text }, required: ['city'] },
    run: ({ city }) => `{"city": "${city}", "temperature": 21, "sky": "sunny"}`,
  },
} satisfies Record<string, Tool>;
const definitions = Object.entries(tools).map(([name, { description, parameters }]) => ({
  type: 'function' as const,
  function: { name, description, parameters },
}));

let model: Model;
beforeAll(async () => {
  model = await loadModel(tiny, { contextLength: CONTEXT });
});
afterAll(() => model.dispose());

describe('a model with tools', () => {
  it('gives its call as deltas and in the message, and says that it ended with one', async () => {
    const stream = model.chat(user('Please multiply 390 by 3509.'), { ...greedy, tools: definitions });
    const builder = createMessageBuilder();
    const deltas: ChatDelta[] = [];
    for await (const delta of stream) {
      deltas.push(delta);
      builder.add(delta);
    }
    const { message, finishReason } = await stream.result;
    expect(message).toEqual({
      role: 'assistant',
      content: '',
      reasoning_content: 'I call calculator.',
      tool_calls: [
        {
          id: expect.stringMatching(/^call_/),
          type: 'function',
          function: { name: 'calculator', arguments: '{"expression": "390 * 3509"}' },
        },
      ],
    });
    expect(finishReason).toBe('tool_calls');
    expect(builder.build()).toEqual(message);
    expect(deltas.filter((d) => d.toolCalls).length).toBeGreaterThan(3);
  });

  it('that are not given this time writes its calls as text', async () => {
    const begun = { role: 'assistant', content: '<tool_call>\n{"name": "calculator", ' };
    const { message, finishReason } = await model.chat([...user('3 * 4'), begun], {
      ...greedy,
      continueFinalMessage: true,
    }).result;
    expect(message.content).toContain('</tool_call>');
    expect(message).not.toHaveProperty('tool_calls');
    expect(finishReason).toBe('stop');
  });

  it('answers with the results of functions, whose calls and results join the conversation', async () => {
    const steps = new Set<number>();
    const { message, finishReason, messages, ...result } = await runTools(
      model,
      user("what's 86339 minus 31274"),
      { ...greedy, tools, onDelta: (_, step) => steps.add(step) },
    );
    expect(message.content).toBe('86339 - 31274 = 55065.');
    expect(finishReason).toBe('stop');
    expect(messages.map(({ role }) => role)).toEqual(['user', 'assistant', 'tool', 'assistant']);
    expect(messages[2]).toMatchObject({ content: '{"result": 55065}' });
    expect([...steps]).toEqual([0, 1]);
    // The second question begins with all of the first and its answer, except what ends the turn.
    const [first, second] = result.steps;
    expect(second!.usage.cachedTokens).toBeGreaterThanOrEqual(
      first!.usage.promptTokens + first!.usage.completionTokens - 2,
    );
    const next = await runTools(model, [...messages, ...user('weather in Athens')], { ...greedy, tools });
    expect(next.message.content).toBe('It is 21 degrees and sunny in Athens.');
  });

  it('is told what a function threw', async () => {
    const broken = { ...tools.get_weather, run: () => Promise.reject(new Error('no such city')) };
    const { messages } = await runTools(model, user('weather in Athens'), {
      ...greedy,
      tools: { get_weather: broken },
      maxSteps: 5,
    });
    expect(messages[2]).toMatchObject({ role: 'tool', content: '{"error":"no such city"}' });
  });

  it('is not asked more often than allowed', async () => {
    const run = runTools(model, user('weather in Athens'), { ...greedy, tools, maxSteps: 1 });
    await expect(run).rejects.toThrow(ToolStepLimitError);
    await expect(run).rejects.toThrow(/asked 1 times and still calls get_weather/);
  });

  it('stops while a function runs, and leaves a conversation that can go on', async () => {
    const stopper = new AbortController();
    const slow: Tool = {
      ...tools.get_weather,
      run(_, { signal }) {
        expect(signal).toBe(stopper.signal);
        setTimeout(() => stopper.abort());
        return new Promise(() => {});
      },
    };
    const { finishReason, messages } = await runTools(model, user('weather in Athens'), {
      ...greedy,
      tools: { get_weather: slow },
      signal: stopper.signal,
    });
    expect(finishReason).toBe('abort');
    expect(messages).toEqual(user('weather in Athens'));
  });
});

describe('a thinking budget', () => {
  const QUESTION = 'What is 483 plus 224?';
  const PREFILL_ROWS = 4;
  let started: StartedModel;
  let tokenizer: Tokenizer;
  beforeAll(async () => {
    const opened = await openModel(tiny, { contextLength: 256, precision: 'f32', prefillRows: PREFILL_ROWS });
    tokenizer = Tokenizer.fromJSON(await opened.readJson('tokenizer.json'));
    started = await startModel(opened);
  });
  afterAll(() => started.dispose());

  const answer = async (options: ChatOptions, question = QUESTION) => {
    const stream = model.chat(user(question), { ...greedy, ...options });
    let streamed = '';
    for await (const { reasoning = '', content = '' } of stream) streamed += reasoning + content;
    const result = await stream.result;
    expect(streamed).toBe(result.message.reasoning_content + result.message.content);
    return result;
  };

  it('ends thinking with the sentence that the model was trained on, and an answer follows', async () => {
    const whole = await answer({});
    const thought = whole.message.reasoning_content;
    for (const thinkingBudget of [5, 12]) {
      const { message, usage, finishReason } = await answer({ thinkingBudget });
      const [cut, ...rest] = message.reasoning_content.split(`\n\n${SENTENCE}`);
      expect(rest).toEqual(['']);
      expect(cut!.length).toBeGreaterThan(0);
      expect(thought.startsWith(cut!.trimEnd())).toBe(true);
      expect(message.content).toMatch(/^483 \+ 224 = \d+\.$/);
      expect(finishReason).toBe('stop');
      const forced = model.tokenizer.encode(`\n\n${SENTENCE}\n</think>`).length;
      expect(usage.reasoningTokens).toBe(thinkingBudget + forced);
      expect(usage.completionTokens).toBeGreaterThan(usage.reasoningTokens);
    }
  });

  it('that is not reached changes nothing', async () => {
    const whole = await answer({});
    const { message, usage } = await answer({ thinkingBudget: whole.usage.reasoningTokens });
    expect(message).toEqual(whole.message);
    expect(usage.completionTokens).toBe(whole.usage.completionTokens);
  });

  it('of 0 is no thinking', async () => {
    const { message, usage } = await answer({ thinkingBudget: 0 });
    expect(message).toEqual((await answer({ enableThinking: false })).message);
    expect(message.reasoning_content).toBe('');
    expect(usage.reasoningTokens).toBe(0);
  });

  it('holds with guessed tokens too', async () => {
    const guessing = await loadModel(tiny, { contextLength: CONTEXT, speculate: 'lookup' });
    try {
      const wanted = await answer({ thinkingBudget: 9 });
      const { message } = await guessing.chat(user(QUESTION), { ...greedy, thinkingBudget: 9 }).result;
      expect(message).toEqual(wanted.message);
    } finally {
      guessing.dispose();
    }
  });

  it('leaves the answer its room: at the limit of tokens nothing is put in', async () => {
    const { message, finishReason, usage } = await answer({ thinkingBudget: 5, maxTokens: 8 });
    expect(finishReason).toBe('length');
    expect(message.content).toBe('');
    expect(usage.completionTokens).toBe(5);
  });

  it.each([-1, 0.5, Number.NaN])('of %d is an error', async (thinkingBudget) => {
    await expect(model.chat(user('Hi'), { thinkingBudget }).result).rejects.toThrow(InvalidInputError);
  });

  it('computes only what was put in: the rest is in the cache, whoever else waits for it', async () => {
    const { session, info, stopTokens } = started;
    const before = session.counts.submits;
    const asked = [QUESTION, 'What is the capital of Norway?'].map((question) => [
      ...tokenizer.encode(`<|im_start|>user\n${question}<|im_end|>\n<|im_start|>assistant\n`),
    ]);
    const answers = await Promise.all(
      asked.map(async (prompt) => {
        const ids: number[] = [];
        const { tokens } = new Answer(session, tokenizer, new MessageParser({ start: 'ask' }), prompt, {
          sampling: samplingParams(greedy, info.samplingDefaults),
          stopTokens: new Set(stopTokens),
          thinkingBudget: 7,
          maxTokens: 70,
        });
        for await (const id of tokens) ids.push(id);
        return ids;
      }),
    );
    const forced = tokenizer.encode(`\n\n${SENTENCE}\n</think>\n\n`, { addBos: false }).length;
    const numChosen = answers.flat().length - 2 * forced;
    const chunks = [...asked.map(({ length }) => length), forced + 1, forced + 1];
    const numChunks = chunks.reduce((sum, rows) => sum + Math.ceil(rows / PREFILL_ROWS), 0);
    // The last chunk of each gives a token, and steps in flight may be for nothing.
    expect(session.counts.submits - before).toBeLessThanOrEqual(numChunks + numChosen + 4);
    expect(tokenizer.decode(answers[0]!.slice(7))).toMatch(new RegExp(`^\n\n${SENTENCE}\n</think>\n\n483`));
  });

  it('keeps the count of the penalties: what was thought is output, not prompt', async () => {
    const prompt = [
      ...tokenizer.encode('<|im_start|>user\nTell me a story.<|im_end|>\n<|im_start|>assistant\n'),
    ];
    const options = {
      sampling: samplingParams(
        { ...greedy, frequencyPenalty: 0.7, presencePenalty: 0.5 },
        started.info.samplingDefaults,
      ),
      accept: () => true,
    };
    const tokensOf = async (ids: number[], maxTokens: number, numAnswered: number): Promise<number[]> => {
      const tokens: number[] = [];
      for await (const id of started.session.generate(ids, { ...options, maxTokens, numAnswered }))
        tokens.push(id);
      return tokens;
    };
    const whole = await tokensOf(prompt, 40, 0);
    const rest = await tokensOf([...prompt, ...whole.slice(0, 25)], 15, 25);
    expect(rest).toEqual(whole.slice(25));
  });
});

describe('a response format', () => {
  const question = user('What is the capital of Norway?');
  const responseFormat = { type: 'json_schema', json_schema: { schema: citySchema, strict: true } } as const;

  it.each([
    ['behind the thinking', {}],
    ['without thinking', { enableThinking: false }],
    ['behind thinking that was cut', { thinkingBudget: 2 }],
    ['with random tokens', { temperature: 3, enableThinking: false, seed: 7 }],
  ])('holds for the answer, whatever the model would rather say: %s', async (_, options) => {
    const stream = model.chat(question, { ...greedy, responseFormat, maxTokens: 120, ...options });
    const { message, finishReason } = await stream.result;
    expect(finishReason).toBe('stop');
    const { city, tokens } = JSON.parse(message.content) as { city: string; tokens: number[] };
    expect(citySchema.properties.city.enum).toContain(city);
    expect(tokens.length).toBeLessThanOrEqual(3);
    expect(tokens.every(Number.isInteger)).toBe(true);
    expect(message.reasoning_content !== '').toBe(!('enableThinking' in options));
  });

  it('of a pattern or a grammar is the whole answer', async () => {
    const options = { ...greedy, enableThinking: false };
    const pattern = { type: 'regex', pattern: '[A-Z]{3}-\\d{2}' } as const;
    const { message } = await model.chat(question, { ...options, responseFormat: pattern }).result;
    expect(message.content).toMatch(/^[A-Z]{3}-\d{2}$/);
    const grammar = { type: 'grammar', grammar: 'root ::= ("yes" | "no") " " root | "."' } as const;
    const said = await model.chat(question, { ...options, responseFormat: grammar, maxTokens: 60 }).result;
    expect(said.message.content).toMatch(said.finishReason === 'stop' ? /^((yes|no) )*\.$/ : /^((yes|no) )*/);
  });

  it('leaves tool calls possible', async () => {
    const { message } = await model.chat(user('Use the calculator: what is 86339 - 31274?'), {
      ...greedy,
      enableThinking: false,
      tools: definitions,
      responseFormat,
    }).result;
    if (message.tool_calls) expect(message.tool_calls[0]!.function.name).toBe('calculator');
    else expect(JSON.parse(message.content)).toHaveProperty('city');
  });

  it('that cannot be is an error before anything is computed', async () => {
    const impossible = {
      type: 'json_schema',
      json_schema: { schema: { type: 'nothing' }, strict: true },
    } as const;
    await expect(model.chat(question, { responseFormat: impossible }).result).rejects.toThrow(
      InvalidInputError,
    );
  });
});
