/**
 * @file Requests and responses in the shape of the OpenAI API, with the fields that servers of open models add to it. Structurally
 * compatible with the types of the `openai` package (test/openai/sdk-types.test.ts compares them); plain data, so that all can be
 * cloned to a worker or written as JSON. No behaviour.
 */

/** A part of a message's content. Models here read text: `{ type: 'text', text }`. */
export interface ContentPart {
  type: string;
  text?: string;
}

export interface RequestToolCall {
  id?: string;
  type?: string;
  /** `arguments` is the text of a JSON object. */
  function?: { name: string; arguments: string };
}

/** A message of a request. `developer` counts as `system`. */
export interface RequestMessage {
  role: 'system' | 'developer' | 'user' | 'assistant' | 'tool' | (string & {});
  content?: string | readonly ContentPart[] | null;
  /** The thinking of an earlier answer, under one of two names. */
  reasoning_content?: string | null;
  reasoning?: string | null;
  tool_calls?: readonly RequestToolCall[] | null;
  /** The call that a message of the role `tool` answers. */
  tool_call_id?: string;
}

/** A function that the model may call. Only the type `function` is known here. */
export interface RequestTool {
  type: string;
  function?: {
    name: string;
    description?: string;
    /** The JSON schema of the arguments, an object. */
    parameters?: Readonly<Record<string, unknown>>;
    /** The model can only write arguments that match the schema. */
    strict?: boolean | null;
  };
}

/** `required`: some function; an object: this one. */
export type ToolChoice = 'none' | 'auto' | 'required' | { type: string; function?: { name: string } };

/** What the answer's content must be. `regex` and `grammar` (EBNF) are this library's own. */
export type RequestFormat =
  | { type: 'text' }
  | { type: 'json_object' }
  | {
      type: 'json_schema';
      json_schema: {
        name?: string;
        description?: string;
        schema?: Readonly<Record<string, unknown>>;
        strict?: boolean | null;
      };
    }
  | { type: 'regex'; pattern: string }
  | { type: 'grammar'; grammar: string };

/** The same as vLLM names it: one of them. */
export interface StructuredOutputs {
  json?: string | Readonly<Record<string, unknown>>;
  regex?: string;
  choice?: readonly string[];
  grammar?: string;
  json_object?: boolean;
}

/** The fields of both kinds of requests. `null` counts as not given everywhere. */
export interface SamplingRequest {
  /** Default: the engine's model. */
  model?: string;
  /** How many answers. Default 1. */
  n?: number | null;
  /** Answer `i` of `n` is sampled with `seed + i`. */
  seed?: number | null;
  stop?: string | readonly string[] | null;
  max_tokens?: number | null;
  temperature?: number | null;
  top_p?: number | null;
  top_k?: number | null;
  min_p?: number | null;
  presence_penalty?: number | null;
  frequency_penalty?: number | null;
  repetition_penalty?: number | null;
  /** Added to the logits of token ids, which are the keys. */
  logit_bias?: Readonly<Record<string, number>> | null;
  stream?: boolean | null;
  stream_options?: { include_usage?: boolean } | null;
  user?: string;
  structured_outputs?: StructuredOutputs | null;
  guided_json?: string | Readonly<Record<string, unknown>> | null;
  guided_regex?: string | null;
  guided_choice?: readonly string[] | null;
  guided_grammar?: string | null;
  /** The same as `guided_grammar`, as llama.cpp names it. */
  grammar?: string | null;
  /** Merged into the request, as SDKs do before they send it. */
  extra_body?: Readonly<Record<string, unknown>> | null;
}

export interface ChatCompletionRequest extends SamplingRequest {
  messages: readonly RequestMessage[];
  max_completion_tokens?: number | null;
  logprobs?: boolean | null;
  /** 0 to 20; `logprobs` must be true. */
  top_logprobs?: number | null;
  tools?: readonly RequestTool[] | null;
  tool_choice?: ToolChoice | null;
  /** False: one call at most. */
  parallel_tool_calls?: boolean | null;
  response_format?: RequestFormat | null;
  /** Arguments of the chat template. */
  chat_template_kwargs?: Readonly<Record<string, unknown>> | null;
  /** The same as in `chat_template_kwargs`. */
  enable_thinking?: boolean | null;
  /** Reasoning tokens after which thinking is ended; 0: no thinking. */
  thinking_budget?: number | null;
  /** `none`: no thinking. Any other effort is the model's own. */
  reasoning_effort?: string | null;
  /** The model continues the last message, which is the assistant's, instead of answering it. */
  continue_final_message?: boolean | null;
}

export interface CompletionRequest extends SamplingRequest {
  /** Text or token ids, one or several. */
  prompt: string | readonly string[] | readonly number[] | readonly (readonly number[])[] | null;
  /** 0 to 20: how many tokens are given with their log-probabilities at each place. */
  logprobs?: number | null;
  /** The prompt comes before the answer; with `logprobs` also what the model thought of its tokens. `max_tokens: 0`: only the prompt. */
  echo?: boolean | null;
  /** 0 to 20: how many tokens are given with their log-probabilities at each place of the prompt, as vLLM has it. */
  prompt_logprobs?: number | null;
}

export interface EmbeddingRequest {
  /** Default: the engine's model. */
  model?: string;
  /** Text or token ids, one or several, at most 2,048. Ids are taken as they are. */
  input: string | readonly string[] | readonly number[] | readonly (readonly number[])[];
  /** The first so many values of each vector, which is then made 1 long again. */
  dimensions?: number | null;
  /** `base64`: float32, the low byte first. Default: `float`. */
  encoding_format?: 'float' | 'base64' | null;
  user?: string;
  /** Vectors also of a model that was not made for that; this library's own. */
  any_model?: boolean | null;
  /** Merged into the request, as SDKs do before they send it. */
  extra_body?: Readonly<Record<string, unknown>> | null;
}

/** Which documents answer a query, in the shape of Jina's and Cohere's APIs, as vLLM has it. */
export interface RerankRequest {
  /** Default: the engine's model. */
  model?: string;
  query: string;
  /** At most 2,048. */
  documents: readonly (string | { readonly text: string })[];
  /** What makes a document a good one, in a sentence. Default: that of a web search. */
  instruction?: string | null;
  /** Only the best so many. Default: all. */
  top_n?: number | null;
  /** The results have the texts. Default: false. */
  return_documents?: boolean | null;
  /** Scores also of a model that was not made for that; this library's own. */
  any_model?: boolean | null;
  /** Merged into the request, as SDKs do before they send it. */
  extra_body?: Readonly<Record<string, unknown>> | null;
}

/** What `create` gives back is a stream. */
export type Streaming = { stream: true };
export type NotStreaming = { stream?: false | null };

export interface CompletionUsage {
  prompt_tokens: number;
  /** All tokens of all answers, including those of the thinking and those that ended it. */
  completion_tokens: number;
  total_tokens: number;
  prompt_tokens_details: {
    /** Prompt tokens whose keys and values were in the cache. */
    cached_tokens: number;
  };
  completion_tokens_details: {
    reasoning_tokens: number;
    /** Guessed tokens (`speculate`) that were right, and those that were not. */
    accepted_prediction_tokens: number;
    rejected_prediction_tokens: number;
  };
}

/** What an answer took; not part of the OpenAI API. Of several answers: the first one's prefill, and all of the decoding. */
export interface CompletionTimings {
  /** Milliseconds from when the model began with the request. */
  time_to_first_token: number;
  prefill_tokens_per_second: number;
  decode_tokens_per_second: number;
  /** Tokens for each forward pass after the prefill; 1 without `speculate`. */
  tokens_per_step: number;
}

export interface CompletionTopLogprob {
  token: string;
  /** UTF-8; a token may be a piece of a character. */
  bytes: number[] | null;
  logprob: number;
}

export interface CompletionTokenLogprob extends CompletionTopLogprob {
  top_logprobs: CompletionTopLogprob[];
}

export interface ChoiceLogprobs {
  content: CompletionTokenLogprob[] | null;
  refusal: null;
}

export interface MessageToolCall {
  id: string;
  type: 'function';
  /** `arguments` is the text of a JSON object. */
  function: { name: string; arguments: string };
}

/** An answer. It can go into the messages of the next request as it is. */
export interface CompletionMessage {
  role: 'assistant';
  /** Null where the answer is only tool calls. */
  content: string | null;
  refusal: null;
  /** The thinking, under both names in use; absent where there was none. */
  reasoning_content?: string;
  reasoning?: string;
  tool_calls?: MessageToolCall[];
  /** A malformed tool call was left in `content`. */
  malformed?: true;
}

export type ChatFinishReason = 'stop' | 'length' | 'tool_calls';

export interface ChatCompletionChoice {
  index: number;
  message: CompletionMessage;
  finish_reason: ChatFinishReason;
  logprobs: ChoiceLogprobs | null;
}

export interface ChatCompletion {
  id: string;
  object: 'chat.completion';
  /** Seconds since 1970. */
  created: number;
  model: string;
  system_fingerprint: string;
  choices: ChatCompletionChoice[];
  usage: CompletionUsage;
  timings: CompletionTimings;
}

/** The first piece of a call has its id and name, later ones have more of the arguments. */
export interface DeltaToolCall {
  index: number;
  id?: string;
  type?: 'function';
  function?: { name?: string; arguments?: string };
}

export interface ChunkDelta {
  role?: 'assistant';
  content?: string | null;
  reasoning_content?: string;
  reasoning?: string;
  tool_calls?: DeltaToolCall[];
  /** The content is the text of a malformed tool call. */
  malformed?: true;
  /**
   * The index of that call, if pieces of it were given out already: forget those. A client that does not know this field is left with
   * a call whose arguments are incomplete JSON, in an answer that did not finish with `tool_calls`.
   */
  dropped_tool_call?: number;
}

export interface ChunkChoice {
  index: number;
  delta: ChunkDelta;
  finish_reason: ChatFinishReason | null;
  logprobs?: ChoiceLogprobs | null;
}

export interface ChatCompletionChunk {
  id: string;
  object: 'chat.completion.chunk';
  created: number;
  model: string;
  system_fingerprint: string;
  /** Empty in the chunk with the usage. */
  choices: ChunkChoice[];
  /** In the last chunk, if `stream_options.include_usage` asked for it. */
  usage?: CompletionUsage | null;
  timings?: CompletionTimings;
}

export interface CompletionLogprobs {
  tokens: string[];
  token_logprobs: number[];
  top_logprobs: Record<string, number>[];
  /** Where each token begins in the text, counted in UTF-16 units. */
  text_offset: number[];
}

/** Of each token of a prompt what is told by token ids: of its own, and of the likeliest. Null for the first. */
export type PromptLogprobs = (Record<
  string,
  { logprob: number; rank: number; decoded_token: string }
> | null)[];

export interface CompletionChoice {
  index: number;
  text: string;
  finish_reason: 'stop' | 'length';
  /** Of an echoed prompt the first token has null in `token_logprobs` and `top_logprobs`. */
  logprobs: CompletionLogprobs | null;
  /** Where `prompt_logprobs` asked for it. */
  prompt_logprobs?: PromptLogprobs;
}

export interface Completion {
  id: string;
  object: 'text_completion';
  created: number;
  model: string;
  system_fingerprint: string;
  choices: CompletionChoice[];
  usage: CompletionUsage;
  timings: CompletionTimings;
}

/** A piece of an answer; only the last one of each answer has a finish reason. */
export interface CompletionChunk extends Omit<Completion, 'choices' | 'usage' | 'timings'> {
  choices: (Omit<CompletionChoice, 'finish_reason'> & { finish_reason: 'stop' | 'length' | null })[];
  usage?: CompletionUsage | null;
  timings?: CompletionTimings;
}

/** Of a request, which has no answer that takes tokens. */
export interface PromptUsage {
  prompt_tokens: number;
  total_tokens: number;
}

/** `Vector`: a text with `encoding_format: 'base64'`. */
export interface EmbeddingResponse<Vector = number[]> {
  object: 'list';
  data: { object: 'embedding'; index: number; embedding: Vector }[];
  model: string;
  usage: PromptUsage;
}

export interface RerankResponse {
  id: string;
  model: string;
  /** The best first; `index` is the place among the documents of the request. */
  results: { index: number; relevance_score: number; document?: { text: string } }[];
  usage: PromptUsage;
}

export interface ModelEntry {
  id: string;
  object: 'model';
  created: number;
  owned_by: string;
  /** Tokens of a prompt and its answer, as vLLM names it. */
  max_model_len?: number;
}
