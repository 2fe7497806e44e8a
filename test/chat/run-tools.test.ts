/** @file What `runTools` does with answers that the small models never give: their text is written here, all else is real. */
import { describe, expect, it } from 'vitest';
import { createMessageBuilder } from '../../src/chat/message.ts';
import { MessageParser } from '../../src/chat/message-parser.ts';
import { toolFormatOf } from '../../src/chat/tool-formats.ts';
import {
  type ChatDelta,
  type ChatMessage,
  type ChatResult,
  InvalidInputError,
  type Model,
  runTools,
  type Tool,
} from '../../src/index.ts';

const FIGURES = {
  usage: {
    promptTokens: 1,
    cachedTokens: 0,
    completionTokens: 1,
    reasoningTokens: 0,
    draftTokens: 0,
    acceptedTokens: 0,
  },
  timings: { timeToFirstToken: 1, prefillTokensPerSecond: 1, decodeTokensPerSecond: 1, tokensPerStep: 1 },
};

/** A model that gives these answers, one after another. */
function saying(...texts: string[]): Pick<Model, 'chat'> {
  return {
    chat(_, { tools = [] } = {}) {
      const format = toolFormatOf('<tool_call>')!;
      const parser = new MessageParser({ start: 'closed', tools: { format, definitions: tools } });
      const deltas = [...parser.push(texts.shift()!), ...parser.end()];
      const builder = createMessageBuilder();
      for (const delta of deltas) builder.add(delta);
      const message = builder.build();
      const finishReason = message.tool_calls ? 'tool_calls' : 'stop';
      return {
        result: Promise.resolve<ChatResult>({ message, finishReason, ...FIGURES }),
        async *[Symbol.asyncIterator](): AsyncGenerator<ChatDelta> {
          yield* deltas;
        },
      };
    },
  };
}

const call = (name: string, args = {}) =>
  `<tool_call>\n${JSON.stringify({ name, arguments: args })}\n</tool_call>`;
const question: ChatMessage[] = [{ role: 'user', content: 'Hi' }];
const tool = (run: Tool['run']): Tool => ({ description: '', parameters: {}, run });

/** What the model is told after it made these calls. */
async function resultsOf(tools: Record<string, Tool>, ...calls: string[]): Promise<unknown[]> {
  const { messages } = await runTools(saying(calls.join('\n'), 'Done.'), question, { tools });
  return messages.filter(({ role }) => role === 'tool').map(({ content }) => content);
}

describe('runTools', () => {
  it('runs the calls of an answer side by side and gives the results in their order', async () => {
    let finish = () => {};
    const isFinished = new Promise<void>((resolve) => {
      finish = resolve;
    });
    const tools = {
      first: tool(() => isFinished.then(() => 1)),
      second: tool(() => {
        finish();
        return 2;
      }),
    };
    expect(await resultsOf(tools, call('first'), call('second'))).toEqual(['1', '2']);
  });

  it('gives texts as they are, other results as JSON, and nothing as nothing', async () => {
    const tools = {
      f: tool(({ as }) => ({ text: 'a"b', list: [1, { a: null }], none: undefined })[as as string]),
    };
    const calls = ['text', 'list', 'none'].map((as) => call('f', { as }));
    expect(await resultsOf(tools, ...calls)).toEqual(['a"b', '[1,{"a":null}]', '']);
  });

  it('tells the model of tools that are not there, of errors, and of results that are no JSON', async () => {
    const loop: Record<string, unknown> = {};
    loop.loop = loop;
    const tools = {
      fail: tool(() => {
        throw new RangeError('too far');
      }),
      loop: tool(() => loop),
    };
    const [missing, inherited, failed, looping] = await resultsOf(
      tools,
      ...['toast', 'toString', 'fail', 'loop'].map((name) => call(name)),
    );
    expect(missing).toBe('{"error":"There is no tool toast; there are: fail, loop"}');
    expect(inherited).toContain('There is no tool toString');
    expect(failed).toBe('{"error":"too far"}');
    expect(looping).toMatch(/^\{"error":".*circular/);
  });

  it('ends with a malformed call as the answer', async () => {
    const { message, messages } = await runTools(saying('<tool_call>{"name": '), question, {
      tools: { f: tool(() => 1) },
    });
    expect(message).toMatchObject({ content: '<tool_call>{"name": ', malformed: true });
    expect(messages).toHaveLength(2);
  });

  it.each<[object, RegExp]>([
    [{ tools: {} }, /tools is empty, wanted functions by name/],
    [{ tools: { f: { description: '' } } }, /tools\.f has no function run/],
    [{ tools: { f: tool(() => 1) }, maxSteps: 0 }, /maxSteps is 0, wanted a positive integer/],
  ])('with %j is an error that says what is wrong', async (options, message) => {
    const run = runTools(saying('Hi'), question, options as Parameters<typeof runTools>[2]);
    await expect(run).rejects.toThrow(InvalidInputError);
    await expect(run).rejects.toThrow(message);
  });
});
