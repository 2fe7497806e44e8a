/**
 * @file Checks the messages and tools of a request and gives them the shape that src/chat wants. What depends on the order of the
 * messages is checked there.
 */
import type { ChatMessage, ToolDefinition } from '../chat/types.ts';
import { isRecord, type Json, listField, recordField, refuse, shown, textField, wrong } from './fields.ts';

const ROLES = ['system', 'developer', 'user', 'assistant', 'tool'];
const WANTED = 'a list of messages: [{ "role": "user", "content": "..." }]';
/** What the servers allow in names of functions; none of these characters ends a name in any format of calls. */
const NAME = /^[\w.:/-]{1,128}$/;

export function readMessages(body: Json): ChatMessage[] {
  const messages = listField(body, 'messages', WANTED);
  if (messages === undefined)
    refuse('messages', `messages is missing, wanted ${WANTED}.`, 'missing_required_parameter');
  if (messages.length === 0) refuse('messages', `messages is empty, wanted ${WANTED}.`, 'empty_array');
  return messages.map((message, i) => readMessage(message, `messages[${i}]`));
}

function readMessage(message: unknown, path: string): ChatMessage {
  if (!isRecord(message)) wrong(path, message, 'an object: { "role": "user", "content": "..." }');
  const { role, name } = message;
  if (typeof role !== 'string' || !ROLES.includes(role)) {
    refuse(
      `${path}.role`,
      `${path}.role is ${shown(role)}, wanted one of ${ROLES.join(', ')}.${role === 'function' ? ' Give the result of a function as a message of the role tool.' : ''}`,
    );
  }
  const text = readContent(message.content, `${path}.content`);
  const calls = role === 'assistant' ? readCalls(message, path) : [];
  if (text === undefined && calls.length === 0) {
    wrong(`${path}.content`, message.content, 'a string');
  }
  const out: ChatMessage = { role: role === 'developer' ? 'system' : role, content: text ?? '' };
  if (typeof name === 'string') out.name = name;
  if (role === 'tool') {
    const id = textField(message, 'tool_call_id', `${path}.tool_call_id`);
    if (id === undefined) {
      refuse(
        `${path}.tool_call_id`,
        `${path}.tool_call_id is missing, wanted the id of the call that this message answers.`,
        'missing_required_parameter',
      );
    }
    out.tool_call_id = id;
  }
  if (role !== 'assistant') return out;
  if (calls.length > 0) out.tool_calls = calls;
  const reasoning =
    textField(message, 'reasoning_content', `${path}.reasoning_content`) ??
    textField(message, 'reasoning', `${path}.reasoning`);
  if (reasoning !== undefined) out.reasoning_content = reasoning;
  return out;
}

/** A text, or parts of text, joined as the servers join them. */
function readContent(content: unknown, path: string): string | undefined {
  if (content === undefined || content === null) return undefined;
  if (typeof content === 'string') return content;
  if (!Array.isArray(content))
    wrong(path, content, 'a string, or a list of parts { "type": "text", "text": "..." }');
  return content
    .map((part: unknown, i) => {
      if (isRecord(part) && part.type === 'text' && typeof part.text === 'string') return part.text;
      return refuse(
        `${path}[${i}]`,
        `${path}[${i}] is ${shown(part)}, wanted { "type": "text", "text": "..." }: this model reads text only.`,
      );
    })
    .join('\n');
}

function readCalls(message: Json, path: string): Json[] {
  const calls = listField(message, 'tool_calls', 'a list of calls', `${path}.tool_calls`) ?? [];
  return calls.map((call, i) => {
    const at = `${path}.tool_calls[${i}]`;
    const called = isRecord(call) ? call.function : undefined;
    const isCall =
      isRecord(call) &&
      typeof call.id === 'string' &&
      isRecord(called) &&
      typeof called.name === 'string' &&
      typeof called.arguments === 'string';
    if (!isCall) {
      wrong(
        at,
        call,
        '{ "id": "...", "type": "function", "function": { "name": "...", "arguments": "{}" } }',
      );
    }
    return { id: call.id, type: 'function', function: { name: called.name, arguments: called.arguments } };
  });
}

export interface ToolPlan {
  tools: ToolDefinition[];
  /** Undefined: the model decides. */
  choice?: 'required' | { name: string };
}

/** The tools that may be called: none where `tool_choice` says so. */
export function readTools(body: Json): ToolPlan {
  const given = listField(body, 'tools', 'a list of functions') ?? [];
  const tools = given.map((tool, i) => readTool(tool, `tools[${i}]`));
  const names = tools.map((tool) => tool.function.name);
  const twice = names.findIndex((name, i) => names.indexOf(name) < i);
  if (twice >= 0) wrong(`tools[${twice}].function.name`, names[twice], 'a name that no other tool has');
  return chosen(body.tool_choice ?? 'auto', tools);
}

function readTool(tool: unknown, path: string): ToolDefinition {
  const wanted =
    '{ "type": "function", "function": { "name": "...", "description": "...", "parameters": {...} } }';
  if (!isRecord(tool) || tool.type !== 'function' || !isRecord(tool.function)) wrong(path, tool, wanted);
  const at = `${path}.function`;
  const { name, strict } = tool.function;
  if (typeof name !== 'string' || !NAME.test(name)) {
    wrong(`${at}.name`, name, 'up to 128 letters, digits and characters of "_-./:"');
  }
  const description = textField(tool.function, 'description', `${at}.description`);
  const parameters = recordField(tool.function, 'parameters', `${at}.parameters`);
  if (typeof (strict ?? false) !== 'boolean') wrong(`${at}.strict`, strict, 'true or false');
  return {
    type: 'function',
    function: {
      name,
      ...(description === undefined ? {} : { description }),
      ...(parameters === undefined ? {} : { parameters }),
      ...(strict === true ? { strict } : {}),
    },
  };
}

function chosen(choice: unknown, tools: ToolDefinition[]): ToolPlan {
  if (choice === 'none') return { tools: [] };
  if (choice === 'auto') return { tools };
  if (choice === 'required') {
    if (tools.length === 0)
      refuse('tool_choice', 'tool_choice is "required", but there are no tools: give some.');
    return { tools, choice };
  }
  if (isRecord(choice) && choice.type === 'allowed_tools' && isRecord(choice.allowed_tools)) {
    const { mode, tools: allowed } = choice.allowed_tools;
    if (Array.isArray(allowed) && (mode === 'auto' || mode === 'required')) {
      const names = allowed.map((tool: unknown) => calledName(tool, tools, 'tool_choice.allowed_tools'));
      return chosen(
        mode,
        tools.filter((tool) => names.includes(tool.function.name)),
      );
    }
  }
  if (isRecord(choice) && choice.type === 'function') {
    return { tools, choice: { name: calledName(choice, tools, 'tool_choice') } };
  }
  return wrong(
    'tool_choice',
    choice,
    '"none", "auto", "required" or { "type": "function", "function": { "name": "..." } }',
  );
}

function calledName(tool: unknown, tools: readonly ToolDefinition[], path: string): string {
  const called = isRecord(tool) && isRecord(tool.function) ? tool.function.name : undefined;
  const names = tools.map((known) => known.function.name);
  if (typeof called === 'string' && names.includes(called)) return called;
  return refuse(
    path,
    `${path} names ${shown(called)}, wanted one of the tools: ${names.join(', ') || 'there are none'}.`,
  );
}
