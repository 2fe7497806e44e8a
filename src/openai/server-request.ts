/**
 * @file Requests as servers of open models take them. All of them know OpenAI's fields. Other fields have different names in
 * vLLM, SGLang, llama.cpp and Ollama, and servers ignore fields that they do not know, so every name is sent.
 */
import type { ChatCompletionRequest, CompletionRequest, RequestMessage } from './types.ts';

type Fields = Record<string, unknown>;

/** @param model for a body that names none */
export function completionBody(body: CompletionRequest, model: string): Fields {
  const fields = given(body);
  // vLLM tells of prompts only in whole answers.
  const how = fields.prompt_logprobs === undefined ? streaming : { stream: false, stream_options: undefined };
  return { model, ...fields, ...format(fields), ...penalty(fields), ...how };
}

/** Of embeddings and reranking: without what only models here understand. @param model for a body that names none */
export function plainBody(body: object, model: string): Fields {
  const { any_model: _, ...fields } = given(body);
  return { model, ...fields };
}

/** @param model for a body that names none */
export function chatBody(body: ChatCompletionRequest, model: string): Fields {
  const { enable_thinking, continue_final_message, ...fields } = given(body);
  const maxTokens = fields.max_tokens ?? fields.max_completion_tokens;
  const thinking = fields.thinking_budget === 0 ? false : enable_thinking;
  return {
    model,
    ...fields,
    ...format(fields),
    ...penalty(fields),
    ...(Array.isArray(fields.messages) && { messages: fields.messages.map(serverMessage) }),
    ...(maxTokens !== undefined && { max_tokens: maxTokens }),
    ...(thinking !== undefined && {
      chat_template_kwargs: { enable_thinking: thinking, ...(fields.chat_template_kwargs as Fields) },
    }),
    ...(continue_final_message === true && { continue_final_message, add_generation_prompt: false }),
    ...streaming,
  };
}

/** Usage is asked for with every stream; whether the caller sees it is decided where the chunks are handed on. */
const streaming = { stream: true, stream_options: { include_usage: true } };

/** The fields of a body, with those of `extra_body`; null counts as absent. */
function given({ extra_body, ...body }: { extra_body?: Readonly<Fields> | null }): Fields {
  const said = Object.entries({ ...body, ...extra_body });
  return Object.fromEntries(said.filter(([, value]) => value !== null && value !== undefined));
}

/** llama.cpp and Ollama have their own names for it. */
function penalty({ repetition_penalty }: Fields): Fields {
  return repetition_penalty === undefined ? {} : { repeat_penalty: repetition_penalty };
}

/** JSON is asked for in OpenAI's way, which all know; patterns and grammars in the ways of vLLM, SGLang and llama.cpp at once. */
function format(fields: Fields): Fields {
  const own = fields.response_format as Fields | undefined;
  const named = (fields.structured_outputs ?? {}) as Fields;
  const json = named.json ?? fields.guided_json;
  const regex = own?.type === 'regex' ? own.pattern : (named.regex ?? fields.guided_regex);
  const grammar =
    own?.type === 'grammar' ? own.grammar : (named.grammar ?? fields.guided_grammar ?? fields.grammar);
  const choice = named.choice ?? fields.guided_choice;
  const none = {
    structured_outputs: undefined,
    guided_json: undefined,
    guided_regex: undefined,
    guided_choice: undefined,
    guided_grammar: undefined,
  };
  if (json !== undefined) {
    const schema = typeof json === 'string' ? parsed(json) : json;
    const json_schema = { name: 'answer', schema, strict: true };
    return { ...none, response_format: { type: 'json_schema', json_schema } };
  }
  if (named.json_object === true) return { ...none, response_format: { type: 'json_object' } };
  if (regex !== undefined) {
    return { ...none, response_format: undefined, structured_outputs: { regex }, regex };
  }
  if (grammar !== undefined) {
    return { ...none, response_format: undefined, structured_outputs: { grammar }, grammar, ebnf: grammar };
  }
  return choice === undefined ? {} : { ...none, structured_outputs: { choice } };
}

/** A text that is not JSON goes to the server as it is, and the server says what is wrong. */
function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

/** Templates do not know the role `developer`, and servers have different names for an earlier answer's thinking. */
function serverMessage(message: RequestMessage): RequestMessage {
  if (typeof message !== 'object' || message === null) return message;
  const thinking = message.reasoning_content ?? message.reasoning;
  return {
    ...message,
    ...(message.role === 'developer' && { role: 'system' }),
    ...(typeof thinking === 'string' && { reasoning_content: thinking, reasoning: thinking }),
  };
}
