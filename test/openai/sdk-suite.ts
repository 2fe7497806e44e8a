/** @file Clients that apps use already, unmodified: what they must get from whatever answers them with tiny-qwen3. */
import { createOpenAICompatible } from '@ai-sdk/openai-compatible';
import { generateText, jsonSchema, Output, stepCountIs, streamText, tool } from 'ai';
import OpenAI from 'openai';
import { beforeAll, describe, expect, it } from 'vitest';
import { calculator, citySchema, MODEL, weather } from './tiny-engine.ts';

/** Known when the tests run. */
export interface Place {
  baseURL: string;
  fetch: typeof fetch;
}

const greedy = { model: MODEL, temperature: 0 };
const user = (content: string) => [{ role: 'user' as const, content }];
const multiplication = user('Please multiply 390 by 3509.');

export function testClients(place: () => Place): void {
  describe('the openai package', () => {
    let client: OpenAI;
    beforeAll(() => {
      client = new OpenAI({
        apiKey: 'none',
        ...place(),
        dangerouslyAllowBrowser: true,
      });
    });

    it('asks, and gives the answer as it comes', async () => {
      const request = { ...greedy, messages: user('What is 27 + 58?') };
      const whole = await client.chat.completions.create(request);
      expect(whole.choices[0]).toMatchObject({
        finish_reason: 'stop',
        message: { content: '27 + 58 = 85.' },
      });
      const stream = await client.chat.completions.create({
        ...request,
        stream: true,
        stream_options: { include_usage: true },
      });
      let text = '';
      let usage: OpenAI.CompletionUsage | null | undefined;
      for await (const chunk of stream) {
        text += chunk.choices[0]?.delta.content ?? '';
        usage = chunk.usage;
      }
      expect(text).toBe(whole.choices[0]!.message.content);
      expect(usage?.completion_tokens).toBe(whole.usage!.completion_tokens);
      expect(usage?.prompt_tokens_details?.cached_tokens).toBeGreaterThan(0);
    });

    it('calls functions until there is an answer', async () => {
      const given: unknown[] = [];
      const runner = client.chat.completions.runTools({
        ...greedy,
        messages: user("what's 86339 minus 31274"),
        tools: [
          {
            ...calculator,
            function: {
              ...calculator.function,
              parse: JSON.parse,
              function: (args: { expression: string }) => {
                given.push(args);
                return '{"result": 55065}';
              },
            },
          },
        ],
      });
      expect(await runner.finalContent()).toBe('86339 - 31274 = 55065.');
      expect(given).toEqual([{ expression: '86339 - 31274' }]);
    });

    it('joins the pieces of a call', async () => {
      const stream = client.chat.completions.stream({
        ...greedy,
        messages: multiplication,
        tools: [calculator, weather],
      });
      const { choices } = await stream.finalChatCompletion();
      expect(choices[0]!.finish_reason).toBe('tool_calls');
      expect(choices[0]!.message.tool_calls).toMatchObject([
        { type: 'function', function: { name: 'calculator', arguments: '{"expression": "390 * 3509"}' } },
      ]);
    });

    it('gets JSON of a schema', async () => {
      const { choices } = await client.chat.completions.create({
        ...greedy,
        messages: user('What is the capital of Norway?'),
        response_format: {
          type: 'json_schema',
          json_schema: { name: 'city', schema: citySchema, strict: true },
        },
      });
      const { city } = JSON.parse(choices[0]!.message.content!) as { city: string };
      expect(citySchema.properties.city.enum).toContain(city);
    });

    it('stops a stream, and asks again at once', async () => {
      const request = { ...greedy, messages: user('Tell me a story.') };
      const stream = await client.chat.completions.create({ ...request, stream: true });
      let numChunks = 0;
      for await (const _ of stream) {
        if (++numChunks === 3) stream.controller.abort();
      }
      expect(numChunks).toBeLessThan(10);
      const stopper = new AbortController();
      const { baseURL, fetch } = place();
      const stopsWhenAsked: typeof fetch = (...args) => {
        setTimeout(() => stopper.abort());
        return fetch(...args);
      };
      const stopped = client
        .withOptions({ baseURL, fetch: stopsWhenAsked })
        .chat.completions.create(request, { signal: stopper.signal });
      await expect(stopped).rejects.toThrow(OpenAI.APIUserAbortError);
      const next = await client.chat.completions.create({ ...greedy, messages: user('What is 27 + 58?') });
      expect(next.choices[0]!.message.content).toBe('27 + 58 = 85.');
    });

    it('throws its own errors, which name the field', async () => {
      const wrong = client.chat.completions.create({ ...greedy, messages: [] });
      await expect(wrong).rejects.toThrow(OpenAI.BadRequestError);
      await expect(wrong).rejects.toMatchObject({
        status: 400,
        param: 'messages',
        type: 'invalid_request_error',
      });
      const other = client.chat.completions.create({ model: 'gpt-5', messages: user('Hi') });
      await expect(other).rejects.toThrow(OpenAI.NotFoundError);
    });

    it('completes a text, and lists the model', async () => {
      const { choices } = await client.completions.create({ ...greedy, prompt: 'One, two', max_tokens: 5 });
      expect(choices[0]).toMatchObject({ finish_reason: 'length', text: expect.any(String) });
      const ids: string[] = [];
      for await (const { id } of client.models.list()) ids.push(id);
      expect(ids).toEqual([MODEL]);
      expect(await client.models.retrieve(MODEL)).toMatchObject({ id: MODEL, object: 'model' });
    });
  });

  describe('the ai package with its OpenAI-compatible provider', () => {
    const modelOf = () =>
      createOpenAICompatible({
        name: 'local',
        ...place(),
        includeUsage: true,
        supportsStructuredOutputs: true,
      })(MODEL);
    const settings = { temperature: 0, maxRetries: 0 };
    const tools = {
      calculator: tool({
        description: calculator.function.description,
        inputSchema: jsonSchema<{ expression: string }>(calculator.function.parameters),
        execute: () => '{"result": 55065}',
      }),
    };

    it('asks, and gives thinking and answer as they come', async () => {
      const { text, reasoningText, usage } = await generateText({
        ...settings,
        model: modelOf(),
        prompt: 'What is 27 + 58?',
      });
      expect(text).toBe('27 + 58 = 85.');
      expect(reasoningText).not.toBe('');
      const stream = streamText({ ...settings, model: modelOf(), prompt: 'What is 27 + 58?' });
      let streamed = '';
      for await (const piece of stream.textStream) streamed += piece;
      expect(streamed).toBe(text);
      expect(await stream.reasoningText).toBe(reasoningText);
      expect((await stream.usage).outputTokens).toBe(usage.outputTokens);
    });

    it.each(['whole', 'streamed'])('calls functions until there is an answer: %s', async (how) => {
      const request = {
        ...settings,
        model: modelOf(),
        prompt: "what's 86339 minus 31274",
        tools,
        stopWhen: stepCountIs(3),
      };
      const result = how === 'whole' ? await generateText(request) : streamText(request);
      expect(await result.text).toBe('86339 - 31274 = 55065.');
      const [first] = await result.steps;
      expect(first!.toolCalls).toMatchObject([
        { toolName: 'calculator', input: { expression: '86339 - 31274' } },
      ]);
    });

    it('gets an object of a schema', async () => {
      const { output } = await generateText({
        ...settings,
        model: modelOf(),
        prompt: 'What is the capital of Norway?',
        output: Output.object({ schema: jsonSchema<{ city: string; tokens: number[] }>(citySchema) }),
      });
      expect(citySchema.properties.city.enum).toContain(output.city);
    });

    it('stops', async () => {
      const stopper = new AbortController();
      const stream = streamText({
        ...settings,
        model: modelOf(),
        prompt: 'Tell me a story.',
        abortSignal: stopper.signal,
      });
      const parts: string[] = [];
      for await (const { type } of stream.fullStream) {
        parts.push(type);
        if (parts.length === 4) stopper.abort();
      }
      expect(parts.at(-1)).toBe('abort');
    });

    it('throws what is wrong', async () => {
      const failing = generateText({ ...settings, temperature: -1, model: modelOf(), prompt: 'Hi' });
      await expect(failing).rejects.toMatchObject({ statusCode: 400 });
      await expect(failing).rejects.toThrow(/temperature is -1, wanted a number from 0/);
    });
  });
}
