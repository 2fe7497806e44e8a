/**
 * @file From an unchecked request to options of the model. Every mistake that can be seen without the model is an ApiError that
 * names the field; the model finds the others later (a prompt that is too long, a schema that cannot be enforced).
 */
import type { ChatMessage, ChatOptions } from '../chat/types.ts';
import { ApiError } from '../errors.ts';
import type { GenerateOptions } from '../runtime/types.ts';
import { readFormat } from './check-format.ts';
import { readMessages, readTools } from './check-messages.ts';
import {
  booleanField,
  checkPlain,
  isRecord,
  type Json,
  listField,
  numberField,
  recordField,
  refuse,
  shown,
  textField,
  wrong,
} from './fields.ts';

/** The same as OpenAI's. */
const MAX_ANSWERS = 128;
const MAX_LOGPROBS = 20;
const MAX_STOPS = 64;

/** What requests of both kinds ask for. */
interface Plan {
  n: number;
  /** The seed of the first answer; each further answer has the next number. Undefined: random. */
  seed: number | undefined;
}

export interface ChatPlan extends Plan {
  messages: ChatMessage[];
  options: ChatOptions;
  /** The field that `options.responseFormat` came from. */
  formatParam: string | null;
}

export interface CompletionPlan extends Plan {
  prompts: (string | readonly number[])[];
  /** `maxTokens` 0: nothing is generated. */
  options: GenerateOptions;
  isEchoed: boolean;
  /** Of every token of the prompts so many of the likeliest are told. */
  promptLogprobs: number | undefined;
}

/** What is asked of a model that is given. */
export interface KnownModel {
  id: string;
  /** Ids of tokens are below this. */
  vocabSize: number;
}

/** @throws ApiError 400, or 404 for another model */
export function checkChat(request: unknown, model: KnownModel): ChatPlan {
  const body = readBody(request, model);
  refuseFields(body, {
    functions: 'Give them as tools.',
    function_call: 'Use tool_choice.',
    audio: 'This model gives text only.',
    web_search_options: 'Nothing here searches the web: give the model a tool that does.',
  });
  const modalities = listField(body, 'modalities', '["text"]') ?? [];
  if (modalities.some((modality) => modality !== 'text')) wrong('modalities', modalities, '["text"]');
  const { tools, choice } = readTools(body);
  const { format, param } = readFormat(body);
  const continues = booleanField(body, 'continue_final_message') ?? false;
  const messages = readMessages(body);
  const last = messages.at(-1)!;
  if (continues && (last.role !== 'assistant' || last.tool_calls !== undefined)) {
    refuse(
      'continue_final_message',
      `continue_final_message wants the last message to be the assistant's text, found one of the role ${last.role}.`,
    );
  }
  return {
    ...answersOf(body),
    messages,
    formatParam: param,
    options: {
      ...samplingOf(body, model, 'max_completion_tokens'),
      ...thinkingOf(body),
      logprobs: chatLogprobs(body),
      tools: tools.length > 0 ? tools : undefined,
      toolChoice: choice,
      parallelToolCalls: booleanField(body, 'parallel_tool_calls'),
      responseFormat: format,
      continueFinalMessage: continues,
    },
  };
}

/** @throws ApiError 400, or 404 for another model */
export function checkCompletion(request: unknown, model: KnownModel): CompletionPlan {
  const body = readBody(request, model);
  refuseFields(body, { suffix: 'This model continues a text and cannot fill a gap in it.' });
  const { format, param } = readFormat(body);
  if (format !== undefined) {
    refuse(param, `${param} is for chat completions. Ask there, or leave it out.`, 'unsupported_parameter');
  }
  const answers = answersOf(body);
  const best = numberField(body, 'best_of', { min: 1, max: MAX_ANSWERS, isInteger: true });
  if (best !== undefined && best !== answers.n) {
    refuse(
      'best_of',
      `best_of is ${best}, wanted the same as n: answers are not ranked.`,
      'unsupported_parameter',
    );
  }
  const prompts = readPrompts(body.prompt, model, 'prompt');
  if (prompts.length * answers.n > MAX_ANSWERS) {
    refuse(
      'prompt',
      `${prompts.length} prompts with n = ${answers.n} are more than ${MAX_ANSWERS} answers. Ask in parts.`,
    );
  }
  return {
    ...answers,
    prompts,
    isEchoed: booleanField(body, 'echo') ?? false,
    promptLogprobs: numberField(body, 'prompt_logprobs', { min: 0, max: MAX_LOGPROBS, isInteger: true }),
    options: {
      ...samplingOf(body, model, 'max_tokens', 0),
      logprobs: numberField(body, 'logprobs', { min: 0, max: MAX_LOGPROBS, isInteger: true }),
    },
  };
}

/** Whether a stream is to end with the chunk that has the usage. */
export function wantsUsage(request: unknown): boolean {
  const body = isRecord(request) ? request : {};
  return isRecord(body.stream_options) && body.stream_options.include_usage === true;
}

/** @throws ApiError 404 */
export function checkModel(name: string, id: string): void {
  if (name === id) return;
  throw new ApiError(404, `The model ${shown(name)} does not exist here. There is ${shown(id)}.`, {
    param: 'model',
    code: 'model_not_found',
  });
}

export function readBody(request: unknown, model: KnownModel): Json {
  if (!isRecord(request)) refuse(null, `The body is ${shown(request)}, wanted an object.`);
  checkPlain(request);
  const { extra_body: _, ...own } = request;
  const body = { ...own, ...recordField(request, 'extra_body') };
  const name = textField(body, 'model');
  if (name !== undefined) checkModel(name, model.id);
  booleanField(body, 'stream');
  const streamOptions = recordField(body, 'stream_options');
  if (streamOptions && typeof (streamOptions.include_usage ?? false) !== 'boolean') {
    wrong('stream_options.include_usage', streamOptions.include_usage, 'true or false');
  }
  return body;
}

export function refuseFields(body: Json, advice: Readonly<Record<string, string>>): void {
  for (const [name, text] of Object.entries(advice)) {
    if (body[name] !== undefined && body[name] !== null) {
      refuse(name, `${name} is not supported. ${text}`, 'unsupported_parameter');
    }
  }
}

function answersOf(body: Json): Plan {
  const max = Number.MAX_SAFE_INTEGER - MAX_ANSWERS;
  return {
    n: numberField(body, 'n', { min: 1, max: MAX_ANSWERS, isInteger: true }) ?? 1,
    seed: numberField(body, 'seed', { min: -max, max, isInteger: true }),
  };
}

/** The engine checks the ranges. */
function samplingOf(
  body: Json,
  { vocabSize }: KnownModel,
  lengthField: string,
  leastLength = 1,
): GenerateOptions {
  const number = (field: string, min: number, max: number, isInteger = false): number | undefined =>
    numberField(body, field, { min, max, isInteger });
  const length = (field: string): number | undefined =>
    number(field, leastLength, Number.MAX_SAFE_INTEGER, true);
  const topK = number('top_k', -1, 2 ** 31, true);
  const most = length('max_tokens');
  return {
    temperature: number('temperature', 0, 1000),
    topP: number('top_p', 0, 1),
    // On servers, -1 turns it off.
    topK: topK === -1 ? 0 : topK,
    minP: number('min_p', 0, 1),
    presencePenalty: number('presence_penalty', -1000, 1000),
    frequencyPenalty: number('frequency_penalty', -1000, 1000),
    repetitionPenalty: number('repetition_penalty', 0.001, 1000),
    maxTokens: length(lengthField) ?? most,
    stop: readStop(body.stop),
    logitBias: readBias(body, vocabSize),
  };
}

function isTokenId(id: unknown, vocabSize: number): id is number {
  return typeof id === 'number' && Number.isInteger(id) && id >= 0 && id < vocabSize;
}

function readStop(stop: unknown): string[] | undefined {
  if (stop === undefined || stop === null) return undefined;
  const texts: unknown[] = Array.isArray(stop) ? stop : [stop];
  if (texts.length > MAX_STOPS)
    refuse('stop', `stop has ${texts.length} texts, wanted at most ${MAX_STOPS}.`);
  if (texts.every((text) => typeof text === 'string' && text !== '')) return texts as string[];
  return wrong('stop', stop, 'a text or a list of texts, none of them empty');
}

function readBias(body: Json, vocabSize: number): Record<number, number> | undefined {
  const bias = recordField(body, 'logit_bias');
  for (const [id, value] of Object.entries(bias ?? {})) {
    if (!/^\d{1,9}$/.test(id) || !isTokenId(Number(id), vocabSize)) {
      refuse('logit_bias', `logit_bias names the token ${shown(id)}, wanted ids from 0 to ${vocabSize - 1}.`);
    }
    if (typeof value !== 'number' || !(Math.abs(value) <= 100)) {
      refuse(
        'logit_bias',
        `logit_bias of the token ${id} is ${shown(value)}, wanted a number from -100 to 100.`,
      );
    }
  }
  return bias as Record<number, number> | undefined;
}

function chatLogprobs(body: Json): number | undefined {
  const isOn = booleanField(body, 'logprobs') ?? false;
  const top = numberField(body, 'top_logprobs', { min: 0, max: MAX_LOGPROBS, isInteger: true });
  if (top !== undefined && !isOn) {
    refuse(
      'top_logprobs',
      'top_logprobs is given, but logprobs is not true. Set logprobs to true, or leave both out.',
    );
  }
  return isOn ? (top ?? 0) : undefined;
}

/** Thinking, under all names that it has, and the other arguments of the template. */
function thinkingOf(body: Json): Pick<ChatOptions, 'enableThinking' | 'thinkingBudget' | 'templateArgs'> {
  const { enable_thinking, ...others } = recordField(body, 'chat_template_kwargs') ?? {};
  const own = ['messages', 'tools', 'add_generation_prompt'].find((name) => Object.hasOwn(others, name));
  if (own !== undefined) {
    refuse(
      'chat_template_kwargs',
      `chat_template_kwargs has ${own}, which the request says itself. Leave it out there.`,
    );
  }
  const nested = 'chat_template_kwargs.enable_thinking';
  const effort = textField(body, 'reasoning_effort');
  const enableThinking =
    booleanField({ [nested]: enable_thinking }, nested) ??
    booleanField(body, 'enable_thinking') ??
    (effort === 'none' ? false : undefined);
  return {
    enableThinking,
    thinkingBudget: numberField(body, 'thinking_budget', {
      min: 0,
      max: Number.MAX_SAFE_INTEGER,
      isInteger: true,
    }),
    // DeepSeek-V3.1's template calls it `thinking`.
    templateArgs: enableThinking === undefined ? others : { thinking: enableThinking, ...others },
  };
}

/** One text or list of token ids, or several. @param field where they stand */
export function readPrompts(
  prompt: unknown,
  { vocabSize }: KnownModel,
  field: string,
): CompletionPlan['prompts'] {
  const isIds = (value: unknown): value is readonly number[] =>
    Array.isArray(value) && value.length > 0 && value.every((id) => isTokenId(id, vocabSize));
  const isPrompt = (value: unknown): value is string | readonly number[] =>
    (typeof value === 'string' && value !== '') || isIds(value);
  if (isPrompt(prompt)) return [prompt];
  if (Array.isArray(prompt) && prompt.length > 0 && prompt.every(isPrompt)) return prompt;
  return wrong(
    field,
    prompt,
    `a text, a list of token ids from 0 to ${vocabSize - 1}, or a list of one of them; none of them empty`,
  );
}
