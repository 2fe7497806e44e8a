/**
 * @file Turns messages into the text of a prompt: checks them, gives tool calls the shape that the checkpoint's template wants,
 * and says where the answer begins. Knows no ids and no engine.
 */
import { type ChatTemplate, ChatTemplateError, thinkState } from '../../tokenizer/index.ts';
import { InvalidInputError } from '../errors.ts';
import type { ReasoningStart } from './message-parser.ts';
import { type ReasoningFormat, reasoningFormatOf } from './reasoning-formats.ts';
import type { ChatMessage, ChatOptions } from './types.ts';

export interface Prompt {
  text: string;
  /** Whether the answer begins inside a think block, after one, or as the model decides. */
  thinking: ReasoningStart;
}

/** @throws InvalidInputError, ChatTemplateError */
export function renderPrompt(
  template: ChatTemplate | ChatTemplateError,
  messages: readonly ChatMessage[],
  options: ChatOptions,
): Prompt {
  if (template instanceof ChatTemplateError) throw template;
  checkMessages(messages);
  checkTools(options.tools);
  checkBudget(options.thinkingBudget);
  const { continueFinalMessage = false, tools, thinkingBudget } = options;
  const enableThinking = thinkingBudget === 0 ? false : options.enableThinking;
  const templateArgs = {
    ...(enableThinking === undefined ? {} : { enable_thinking: enableThinking }),
    ...options.templateArgs,
  };
  const text = template.render(forTemplate(messages, template.source), {
    tools: tools?.length ? tools : undefined,
    addGenerationPrompt: !continueFinalMessage,
    continueFinalMessage,
    templateArgs,
  });
  const format = reasoningFormatOf(template.source);
  const thinking = answerStart(template, format, messages, continueFinalMessage, templateArgs);
  // Where the template always opens a think block, it is closed at once.
  if (thinking === 'open' && thinkingBudget === 0) {
    return { text: text + format.closeOpened, thinking: 'closed' };
  }
  return { text, thinking };
}

function answerStart(
  template: ChatTemplate,
  format: ReasoningFormat,
  messages: readonly ChatMessage[],
  continueFinalMessage: boolean,
  templateArgs: Readonly<Record<string, unknown>>,
): ReasoningStart {
  if (continueFinalMessage) {
    const { content } = messages.at(-1)!;
    return typeof content === 'string' && thinkState(content, format) === 'open' ? 'open' : 'closed';
  }
  const { think } = template.generationPrompt(format, templateArgs);
  return think === 'none' ? 'ask' : think;
}

/**
 * Messages with tool calls as the template reads them. In the OpenAI API arguments are text. DeepSeek's templates need text, and
 * leave out the content only where it is null; Qwen3's take text or an object; others want an object.
 */
function forTemplate(messages: readonly ChatMessage[], source: string): readonly ChatMessage[] {
  const joinsText = source.includes('<｜tool▁sep｜>');
  const takesText = joinsText || source.includes('arguments is string');
  return messages.map((message) => {
    if (!Array.isArray(message.tool_calls)) return message;
    const { tool_calls, ...plain } = message;
    if (tool_calls.length === 0) return plain;
    return {
      ...plain,
      content: message.content || (joinsText ? null : ''),
      tool_calls: tool_calls.map((call: Record<string, unknown>) => {
        const called = functionOf(call)!;
        const given = called.arguments;
        let args = given;
        if (joinsText && typeof given !== 'string') args = JSON.stringify(given ?? {});
        if (!takesText && typeof given === 'string') args = parsed(given);
        return { ...call, type: 'function', function: { ...called, arguments: args } };
      }),
    };
  });
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

/** The function of a call. Older messages have its name and arguments in the call itself. */
function functionOf(call: unknown): { name: string; arguments?: unknown } | undefined {
  const called = isRecord(call) && isRecord(call.function) ? call.function : call;
  return isRecord(called) && typeof called.name === 'string' ? { ...called, name: called.name } : undefined;
}

function checkMessages(messages: readonly ChatMessage[]): void {
  const wanted = 'a list of messages, each an object with a role: [{ role: "user", content: "..." }]';
  if (!Array.isArray(messages) || messages.length === 0) {
    throw new InvalidInputError(
      `messages is ${Array.isArray(messages) ? 'empty' : typeof messages}, wanted ${wanted}`,
    );
  }
  let calls: readonly unknown[] = [];
  for (const [i, message] of messages.entries()) {
    if (!isRecord(message) || typeof message.role !== 'string') {
      throw new InvalidInputError(`messages[${i}] is ${shown(message)}, wanted ${wanted}`);
    }
    if (message.role === 'tool') checkToolResult(message, calls, i);
    else calls = callsOf(message, i);
  }
}

function callsOf({ tool_calls: calls = [] }: Record<string, unknown>, i: number): readonly unknown[] {
  if (calls === null) return [];
  if (!Array.isArray(calls) || !calls.every(functionOf)) {
    throw new InvalidInputError(
      `messages[${i}].tool_calls is ${shown(calls)}, wanted a list of calls: [{ id: "...", type: "function", function: { name: "...", arguments: "{}" } }]`,
    );
  }
  return calls;
}

function checkToolResult(
  { tool_call_id: id }: Record<string, unknown>,
  calls: readonly unknown[],
  i: number,
): void {
  if (calls.length === 0) {
    throw new InvalidInputError(
      `messages[${i}] is the result of a tool, but no call comes before it; wanted the assistant's message with its tool_calls first`,
    );
  }
  const ids = calls.map((call) => (isRecord(call) ? call.id : undefined));
  if (id !== undefined && ids.every((known) => known !== undefined && known !== id)) {
    throw new InvalidInputError(
      `messages[${i}].tool_call_id is ${shown(id)}, wanted the id of a call before it: ${ids.join(', ')}`,
    );
  }
}

function checkTools(tools: unknown): void {
  if (tools === undefined) return;
  const isTool = (tool: unknown): boolean => isRecord(tool) && isRecord(tool.function) && !!functionOf(tool);
  if (Array.isArray(tools) && tools.every(isTool)) return;
  throw new InvalidInputError(
    `tools is ${shown(tools)}, wanted a list of functions: [{ type: "function", function: { name: "...", description: "...", parameters: {...} } }]`,
  );
}

function checkBudget(budget: number | undefined): void {
  if (budget === undefined || (Number.isSafeInteger(budget) && budget >= 0)) return;
  throw new InvalidInputError(
    `thinkingBudget is ${budget}, wanted a whole number of tokens, 0 for no thinking`,
  );
}

const shown = (value: unknown): string => String(JSON.stringify(value)).slice(0, 80);

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
