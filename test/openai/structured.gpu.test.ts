/** @file Answers that have to be of a schema, from a model at a temperature at which it says anything. */
import { Ajv2020 } from 'ajv/dist/2020.js';
import addFormats from 'ajv-formats';
import fc from 'fast-check';
import { afterAll, beforeAll, expect, inject, test } from 'vitest';
import type { Engine } from '../../src/index.ts';
import { anySchema } from '../constrain/any-schema.ts';
import { openTinyEngine } from './tiny-engine.ts';

const NUM_ANSWERS = inject('everyCase') ? 500 : 10;
/** Fits the context with the prompt. An answer that is cut off here is no JSON, which the API tells by its finish reason. */
const MAX_TOKENS = 500;

let engine: Engine;
beforeAll(async () => {
  engine = await openTinyEngine();
});
afterAll(() => engine.dispose());

const ajv = new Ajv2020({ strict: false });
addFormats.default(ajv);

test('answers of any schema at temperature 1.5 are valid JSON of it, with and without thinking', async () => {
  const seed = Number(process.env.SEED ?? Math.floor(Math.random() * 2 ** 31));
  const cases = fc.sample(anySchema(), { seed, numRuns: NUM_ANSWERS });
  let numCut = 0;
  for (const [i, { schema }] of cases.entries()) {
    const { choices } = await engine.chat.completions.create({
      stream: false,
      messages: [{ role: 'user', content: `Answer as JSON: what is ${i} plus ${7 * i}?` }],
      response_format: {
        type: 'json_schema',
        json_schema: { name: 'answer', schema: schema as Record<string, unknown> },
      },
      temperature: 1.5,
      top_p: 1,
      top_k: 0,
      seed: seed + i,
      // Thinking at this temperature may go on for ever.
      ...(i % 2 === 0 ? { enable_thinking: false } : { thinking_budget: 20 }),
      max_completion_tokens: MAX_TOKENS,
    });
    const { message, finish_reason } = choices[0]!;
    const where = `seed ${seed}, answer ${i} to ${JSON.stringify(schema)}: ${message.content}`;
    if (finish_reason === 'length') {
      numCut++;
      continue;
    }
    expect(finish_reason, where).toBe('stop');
    const validate = ajv.compile(schema as object);
    expect(validate(parsed(message.content, where)), `${where}: ${ajv.errorsText(validate.errors)}`).toBe(
      true,
    );
  }
  console.info(
    `structured output: ${NUM_ANSWERS - numCut} answers of ${NUM_ANSWERS} valid, ${numCut} cut off by their length`,
  );
  expect(numCut).toBeLessThan(NUM_ANSWERS / 2);
});

test('an answer that would rather end while it thinks is of its form all the same', async () => {
  const { choices } = await engine.chat.completions.create({
    stream: false,
    messages: [{ role: 'user', content: 'Answer as JSON: what is 2 plus 3?' }],
    response_format: { type: 'json_schema', json_schema: { schema: { enum: ['five', 'six'] } } },
    // The ends of a turn and of a text.
    logit_bias: { 1017: 100, 1015: 100 },
    thinking_budget: 12,
  });
  expect(choices[0]).toMatchObject({
    finish_reason: 'stop',
    message: { content: expect.stringMatching(/^"(five|six)"$/) },
  });
});

function parsed(text: string | null, where: string): unknown {
  try {
    return JSON.parse(text!);
  } catch {
    throw new Error(`no JSON: ${where}`);
  }
}
