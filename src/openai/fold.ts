/** @file Makes the whole answer from its chunks: `stream: false` gives what the chunks of `stream: true` add up to. */
import { ApiError } from '../errors.ts';
import type {
  ChatCompletion,
  ChatCompletionChoice,
  ChatCompletionChunk,
  Completion,
  CompletionChoice,
  CompletionChunk,
  CompletionMessage,
  MessageToolCall,
} from './types.ts';

/** What is known of an answer before its last chunk. */
interface Open<Choice> {
  choice: Omit<Choice, 'finish_reason'> & {
    finish_reason: Choice extends { finish_reason: infer R } ? R | null : never;
  };
}

/** @throws ApiError when the chunks end before the answers do, and what iterating throws */
export async function foldChat(chunks: AsyncIterable<ChatCompletionChunk>): Promise<ChatCompletion> {
  const choices: (Open<ChatCompletionChoice> & { calls: Map<number, MessageToolCall> })[] = [];
  let last: ChatCompletionChunk | undefined;
  for await (const chunk of chunks) {
    last = chunk;
    for (const { index, delta, finish_reason, logprobs } of chunk.choices) {
      choices[index] ??= {
        choice: {
          index,
          message: { role: 'assistant', content: '', refusal: null },
          finish_reason: null,
          logprobs: null,
        },
        calls: new Map(),
      };
      const { choice, calls } = choices[index];
      const { message } = choice;
      message.content += delta.content ?? '';
      const thought = delta.reasoning_content ?? '';
      if (thought !== '') {
        message.reasoning_content = (message.reasoning_content ?? '') + thought;
        message.reasoning = message.reasoning_content;
      }
      if (delta.malformed) message.malformed = true;
      if (delta.dropped_tool_call !== undefined) calls.delete(delta.dropped_tool_call);
      for (const { index, id = '', function: piece = {} } of delta.tool_calls ?? []) {
        const { name = '', arguments: args = '' } = piece;
        const call = calls.get(index);
        if (call) call.function.arguments += args;
        else calls.set(index, { id, type: 'function', function: { name, arguments: args } });
      }
      if (logprobs) {
        choice.logprobs ??= { content: [], refusal: null };
        choice.logprobs.content!.push(...(logprobs.content ?? []));
      }
      choice.finish_reason = finish_reason ?? choice.finish_reason;
    }
  }
  const { id, created, model, system_fingerprint, usage, timings } = whole(last);
  return {
    id,
    object: 'chat.completion',
    created,
    model,
    system_fingerprint,
    choices: choices.map(({ choice, calls }) => ({
      ...choice,
      message: messageOf(choice.message, calls),
      finish_reason: reasonOf(choice),
    })),
    usage,
    timings,
  };
}

function messageOf(message: CompletionMessage, calls: Map<number, MessageToolCall>): CompletionMessage {
  if (calls.size === 0) return message;
  return { ...message, content: message.content || null, tool_calls: [...calls.values()] };
}

/** @throws ApiError when the chunks end before the answers do, and what iterating throws */
export async function foldText(chunks: AsyncIterable<CompletionChunk>): Promise<Completion> {
  const choices: Open<CompletionChoice>['choice'][] = [];
  let last: CompletionChunk | undefined;
  for await (const chunk of chunks) {
    last = chunk;
    for (const { index, text, finish_reason, logprobs, prompt_logprobs } of chunk.choices) {
      choices[index] ??= { index, text: '', finish_reason: null, logprobs: null };
      const choice = choices[index];
      choice.text += text;
      if (prompt_logprobs) choice.prompt_logprobs = prompt_logprobs;
      choice.finish_reason = finish_reason ?? choice.finish_reason;
      if (!logprobs) continue;
      choice.logprobs ??= { tokens: [], token_logprobs: [], top_logprobs: [], text_offset: [] };
      choice.logprobs.tokens.push(...logprobs.tokens);
      choice.logprobs.token_logprobs.push(...logprobs.token_logprobs);
      choice.logprobs.top_logprobs.push(...logprobs.top_logprobs);
      choice.logprobs.text_offset.push(...logprobs.text_offset);
    }
  }
  const { usage, timings, ...head } = whole(last);
  return {
    ...head,
    choices: choices.map((choice) => ({ ...choice, finish_reason: reasonOf(choice) })),
    usage,
    timings,
  };
}

type Whole<T extends { usage?: unknown; timings?: unknown }> = T & {
  usage: NonNullable<T['usage']>;
  timings: NonNullable<T['timings']>;
};

/** The last chunk, which says what the answers cost. */
function whole<T extends { usage?: unknown; timings?: unknown }>(last: T | undefined): Whole<T> {
  if (!last?.usage || !last.timings) throw cut();
  return last as Whole<T>;
}

function reasonOf<Reason>({ finish_reason }: { finish_reason: Reason | null }): Reason {
  if (finish_reason === null) throw cut();
  return finish_reason;
}

const cut = (): ApiError => new ApiError(500, 'The answer broke off before its end. Ask again.');
