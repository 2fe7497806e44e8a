/** The types of requests and responses fit those of the `openai` package: checked by `tsc`, nothing of it runs. */
import type OpenAI from 'openai';
import { describe, expectTypeOf, it } from 'vitest';
import type {
  ApiError,
  ChatCompletion,
  ChatCompletionChunk,
  ChatCompletionRequest,
  Completion,
  CompletionMessage,
  CompletionRequest,
  CompletionStream,
  EmbeddingRequest,
  EmbeddingResponse,
  Engine,
  ModelEntry,
} from '../../src/index.ts';

/** What most apps use of the client: it may be the SDK's or an engine. */
interface Client {
  chat: {
    completions: {
      create(
        body: OpenAI.Chat.ChatCompletionCreateParamsNonStreaming,
      ): PromiseLike<OpenAI.Chat.ChatCompletion>;
      create(
        body: OpenAI.Chat.ChatCompletionCreateParamsStreaming,
      ): PromiseLike<AsyncIterable<OpenAI.Chat.ChatCompletionChunk> & { controller: AbortController }>;
    };
  };
  completions: {
    create(body: OpenAI.CompletionCreateParamsNonStreaming): PromiseLike<OpenAI.Completion>;
    /** Not `OpenAI.Completion`: there every piece of a stream has a reason why it ended. */
    create(
      body: OpenAI.CompletionCreateParamsStreaming,
    ): PromiseLike<AsyncIterable<{ choices: { index: number; text: string }[] }>>;
  };
  embeddings: {
    create(
      body: OpenAI.EmbeddingCreateParams & { encoding_format?: 'float' },
    ): PromiseLike<OpenAI.CreateEmbeddingResponse>;
  };
  models: {
    list(): PromiseLike<AsyncIterable<OpenAI.Model> & { data: OpenAI.Model[] }>;
    retrieve(id: string): PromiseLike<OpenAI.Model>;
  };
}

describe('types of the openai package', () => {
  it('of clients: code written for the SDK takes an engine', () => {
    expectTypeOf<OpenAI>().toExtend<Client>();
    expectTypeOf<Engine>().toExtend<Client>();
  });

  it('of requests can be given to an engine', () => {
    expectTypeOf<OpenAI.Chat.ChatCompletionCreateParams>().toExtend<ChatCompletionRequest>();
    expectTypeOf<OpenAI.Chat.ChatCompletionMessageParam[]>().toExtend<ChatCompletionRequest['messages']>();
    expectTypeOf<OpenAI.CompletionCreateParams>().toExtend<CompletionRequest>();
    expectTypeOf<OpenAI.EmbeddingCreateParams>().toExtend<EmbeddingRequest>();
  });

  it('of responses take what an engine gives', () => {
    expectTypeOf<ChatCompletion>().toExtend<OpenAI.Chat.ChatCompletion>();
    expectTypeOf<ChatCompletionChunk>().toExtend<OpenAI.Chat.ChatCompletionChunk>();
    expectTypeOf<Completion>().toExtend<OpenAI.Completion>();
    expectTypeOf<EmbeddingResponse>().toExtend<OpenAI.CreateEmbeddingResponse>();
    expectTypeOf<ModelEntry>().toExtend<OpenAI.Model>();
    expectTypeOf<ApiError>().toExtend<Pick<InstanceType<typeof OpenAI.APIError>, 'message'>>();
    expectTypeOf<CompletionMessage>().toExtend<OpenAI.Chat.ChatCompletionMessageParam>();
  });

  it('of an answer go into the next request, and `stream` decides what comes', () => {
    expectTypeOf<CompletionMessage>().toExtend<ChatCompletionRequest['messages'][number]>();
    const ask = (engine: Engine) => ({
      whole: engine.chat.completions.create({ messages: [] }),
      stream: engine.chat.completions.create({ messages: [], stream: true }),
      either: engine.chat.completions.create({ messages: [] } as ChatCompletionRequest),
    });
    type Asked = ReturnType<typeof ask>;
    expectTypeOf<Asked['whole']>().toEqualTypeOf<Promise<ChatCompletion>>();
    expectTypeOf<Asked['stream']>().toEqualTypeOf<Promise<CompletionStream<ChatCompletionChunk>>>();
    expectTypeOf<Asked['either']>().toEqualTypeOf<
      Promise<ChatCompletion | CompletionStream<ChatCompletionChunk>>
    >();
  });
});
