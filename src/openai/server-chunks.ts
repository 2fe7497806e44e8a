/**
 * @file Gives the chunks of any server's answer the shape of types.ts: thinking under both names, tool calls with indexes, the usage
 * with every field, and timings. It must not know HTTP.
 */
import { ApiError } from '../errors.ts';
import type {
  ChatCompletionChunk,
  ChunkChoice,
  ChunkDelta,
  CompletionChunk,
  CompletionTimings,
  CompletionUsage,
  DeltaToolCall,
} from './types.ts';

type Fields = Record<string, unknown>;

/** What both kinds of chunks have beside their choices. */
interface Head {
  id: string;
  created: number;
  model: string;
  system_fingerprint: string;
}

export interface ChunkReader<Chunk> {
  /** The chunk in an event's JSON; undefined where it has nothing to say before the end. */
  read(json: Fields): Chunk | undefined;
  /**
   * The last chunk, with usage (zeros where the server gave none) and timings.
   * @throws ApiError when the stream broke off before every answer had ended
   */
  end(): Chunk;
}

export function readChatChunks(): ChunkReader<ChatCompletionChunk> {
  const calls = new Map<number, CallIndexes>();
  const object = 'chat.completion.chunk';
  return readChunks<ChatCompletionChunk>(object, (choice, index): ChunkChoice => {
    // A server that cannot stream, or does not for some requests, gives the message whole.
    const delta = (choice.delta ?? choice.message ?? {}) as Fields;
    const indexes = calls.get(index) ?? { next: 0 };
    calls.set(index, indexes);
    return {
      index,
      delta: deltaOf(delta, indexes),
      finish_reason: finishReason(choice.finish_reason, ['stop', 'length', 'tool_calls']),
      ...(isObject(choice.logprobs) && { logprobs: choice.logprobs as never }),
    };
  });
}

export function readCompletionChunks(): ChunkReader<CompletionChunk> {
  return readChunks<CompletionChunk>('text_completion', (choice, index) => ({
    index,
    text: typeof choice.text === 'string' ? choice.text : '',
    finish_reason: finishReason(choice.finish_reason, ['stop', 'length']),
    logprobs: isObject(choice.logprobs) ? (choice.logprobs as never) : null,
    ...(Array.isArray(choice.prompt_logprobs) && { prompt_logprobs: choice.prompt_logprobs as never }),
  }));
}

function readChunks<Chunk extends ChatCompletionChunk | CompletionChunk>(
  object: Chunk['object'],
  choiceOf: (choice: Fields, index: number) => Chunk['choices'][number],
): ChunkReader<Chunk> {
  const start = performance.now();
  const open = new Map<number, boolean>();
  let head: Head = { id: '', created: 0, model: '', system_fingerprint: '' };
  let firstToken: number | undefined;
  let usage: Fields | undefined;
  let served: Fields | undefined;

  return {
    read(json) {
      head = {
        id: text(json.id) || head.id,
        created: number(json.created) || head.created,
        model: text(json.model) || head.model,
        system_fingerprint: text(json.system_fingerprint) || head.system_fingerprint,
      };
      if (isObject(json.usage)) usage = json.usage;
      if (isObject(json.timings)) served = json.timings;
      const given = Array.isArray(json.choices) ? (json.choices as unknown[]).filter(isObject) : [];
      const choices = given.map((choice) => choiceOf(choice, number(choice.index)));
      if (choices.length === 0) return undefined;
      firstToken ??= performance.now();
      for (const { index, finish_reason } of choices) {
        open.set(index, (open.get(index) ?? true) && finish_reason === null);
      }
      return { ...head, object, choices } as unknown as Chunk;
    },

    end() {
      if (open.size === 0 || [...open.values()].includes(true)) {
        throw new ApiError(
          502,
          'The server ended its answer in the middle: no finish_reason came. Its log may say why; ask again.',
        );
      }
      const all = usageOf(usage);
      const timings = timingsOf(all, served, start, firstToken ?? start);
      return { ...head, object, choices: [], usage: all, timings } as unknown as Chunk;
    },
  };
}

interface CallIndexes {
  next: number;
}

function deltaOf(delta: Fields, indexes: CallIndexes): ChunkDelta {
  const thinking = text(delta.reasoning_content) || text(delta.reasoning);
  const calls = Array.isArray(delta.tool_calls) ? (delta.tool_calls as unknown[]).filter(isObject) : [];
  return {
    ...(delta.role === 'assistant' && { role: 'assistant' }),
    ...(typeof delta.content === 'string' && { content: delta.content }),
    ...(thinking !== '' && { reasoning_content: thinking, reasoning: thinking }),
    ...(calls.length > 0 && { tool_calls: calls.map((call) => callOf(call, indexes)) }),
    ...(delta.malformed === true && { malformed: true }),
    ...(typeof delta.dropped_tool_call === 'number' && { dropped_tool_call: delta.dropped_tool_call }),
  };
}

/** A piece of a call. Where the server gives no index, a piece with an id begins the next call. */
function callOf(call: Fields, indexes: CallIndexes): DeltaToolCall {
  const { name, arguments: args } = isObject(call.function) ? call.function : {};
  const begins = text(call.id) !== '';
  const index =
    typeof call.index === 'number' ? call.index : begins ? indexes.next : Math.max(0, indexes.next - 1);
  indexes.next = Math.max(indexes.next, index + 1);
  return {
    index,
    ...(begins && { id: text(call.id) }),
    type: 'function',
    function: {
      ...(text(name) !== '' && { name: text(name) }),
      arguments: isObject(args) ? JSON.stringify(args) : text(args),
    },
  };
}

/** Some servers have other reasons. Whatever they mean, the answer has ended by itself. */
function finishReason<Reason extends string>(reason: unknown, known: readonly Reason[]): Reason | null {
  if (typeof reason !== 'string' || reason === '') return null;
  return known.find((one) => one === reason) ?? known[0]!;
}

function usageOf(usage: Fields = {}): CompletionUsage {
  const prompt = isObject(usage.prompt_tokens_details) ? usage.prompt_tokens_details : {};
  const completion = isObject(usage.completion_tokens_details) ? usage.completion_tokens_details : {};
  const prompt_tokens = number(usage.prompt_tokens);
  const completion_tokens = number(usage.completion_tokens);
  return {
    prompt_tokens,
    completion_tokens,
    total_tokens: number(usage.total_tokens) || prompt_tokens + completion_tokens,
    prompt_tokens_details: { cached_tokens: number(prompt.cached_tokens) },
    completion_tokens_details: {
      // SGLang has it beside the other counts.
      reasoning_tokens: number(completion.reasoning_tokens) || number(usage.reasoning_tokens),
      accepted_prediction_tokens: number(completion.accepted_prediction_tokens),
      rejected_prediction_tokens: number(completion.rejected_prediction_tokens),
    },
  };
}

/** The server's own timings, from another of these engines or llama.cpp; else as measured here, which includes the network. */
function timingsOf(
  { prompt_tokens, completion_tokens }: CompletionUsage,
  served: Fields = {},
  start: number,
  firstToken: number,
): CompletionTimings {
  const untilFirst = firstToken - start;
  const behind = performance.now() - firstToken;
  const rate = (tokens: number, milliseconds: number) =>
    milliseconds > 0 ? (1000 * Math.max(0, tokens)) / milliseconds : 0;
  return {
    time_to_first_token: untilFirst,
    prefill_tokens_per_second:
      number(served.prefill_tokens_per_second) ||
      number(served.prompt_per_second) ||
      rate(prompt_tokens, untilFirst),
    decode_tokens_per_second:
      number(served.decode_tokens_per_second) ||
      number(served.predicted_per_second) ||
      rate(completion_tokens - 1, behind),
    tokens_per_step: number(served.tokens_per_step) || 1,
  };
}

export function isObject(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

const text = (value: unknown): string => (typeof value === 'string' ? value : '');
const number = (value: unknown): number => (Number.isFinite(value) ? (value as number) : 0);
