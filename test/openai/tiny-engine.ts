/** @file The embedded tiny-qwen3 behind an engine, and the tools that it was trained to call. */
import { createEngine, type Engine, type RequestTool } from '../../src/index.ts';
import { fixtureFolders } from '../fixture-folders.ts';

export const MODEL = 'tiny-qwen3';

export const openTinyEngine = (): Promise<Engine> =>
  createEngine(fixtureFolders('tinyModels').find(({ name }) => name === MODEL)!.source, {
    modelId: MODEL,
    contextLength: 640,
  });

const parameters = (name: string) => ({
  type: 'object',
  properties: { [name]: { type: 'string' } },
  required: [name],
  additionalProperties: false,
});

export const calculator = {
  type: 'function',
  function: {
    name: 'calculator',
    description: 'Evaluate an arithmetic expression.',
    parameters: parameters('expression'),
  },
} as const satisfies RequestTool;

export const weather = {
  type: 'function',
  function: {
    name: 'get_weather',
    description: 'Get the weather in a city.',
    parameters: parameters('city'),
  },
} as const satisfies RequestTool;

export const citySchema = {
  type: 'object',
  properties: {
    city: { enum: ['Oslo', 'Paris', 'Rome'] },
    tokens: { type: 'array', items: { type: 'integer' }, maxItems: 3 },
  },
  required: ['city', 'tokens'],
  additionalProperties: false,
} as const;
