/** @file Asks a model, calls the functions that it wants, and asks again with their results until it answers. */
import { InvalidInputError, ToolStepLimitError } from '../errors.ts';
import type { ChatDelta, ChatMessage, ChatOptions, ChatResult, Model, ToolCall } from './types.ts';

export interface Tool {
  description: string;
  /** The JSON schema of the arguments, an object. What the model writes is not checked against it. */
  parameters: Readonly<Record<string, unknown>>;
  /** Its result goes to the model: a text as it is, anything else as JSON, an error as `{"error": message}`. */
  run(args: Record<string, unknown>, context: { signal: AbortSignal | undefined }): unknown;
}

export interface RunToolsOptions extends Omit<ChatOptions, 'tools' | 'continueFinalMessage'> {
  tools: Readonly<Record<string, Tool>>;
  /** How often the model is asked, at most. Default 10. */
  maxSteps?: number;
  /** Called with the pieces of every answer as they come; `step` counts from 0. */
  onDelta?: (delta: ChatDelta, step: number) => void;
}

export interface RunToolsResult {
  /** The last answer. */
  message: ChatResult['message'];
  /** `abort` also where the abort came while a function ran. */
  finishReason: ChatResult['finishReason'];
  /** The conversation with everything that was added to it. Aborted calls are left out. */
  messages: ChatMessage[];
  /** Every answer, with what it cost. */
  steps: ChatResult[];
}

/**
 * Calls the functions that the model asks for, those of one answer in parallel, until it answers without a call.
 * @throws ToolStepLimitError when answer number `maxSteps` still has calls; InvalidInputError; and what `model.chat` throws
 */
export async function runTools(
  model: Pick<Model, 'chat'>,
  messages: readonly ChatMessage[],
  { tools, maxSteps = 10, onDelta, ...options }: RunToolsOptions,
): Promise<RunToolsResult> {
  checkTools(tools);
  if (!Number.isSafeInteger(maxSteps) || maxSteps < 1) {
    throw new InvalidInputError(`maxSteps is ${maxSteps}, wanted a positive integer`);
  }
  const { signal } = options;
  const definitions = Object.entries(tools).map(([name, { description, parameters }]) => ({
    type: 'function' as const,
    function: { name, description, parameters },
  }));
  const conversation = [...messages];
  const steps: ChatResult[] = [];
  for (let step = 0; step < maxSteps; step++) {
    const stream = model.chat(conversation, { ...options, tools: definitions });
    for await (const delta of stream) onDelta?.(delta, step);
    const result = await stream.result;
    const { message, finishReason } = result;
    steps.push(result);
    const isFinal = finishReason !== 'tool_calls';
    if (isFinal) return { message, finishReason, messages: [...conversation, spoken(message)], steps };
    if (step === maxSteps - 1) break;
    const results = await unlessAborted(
      Promise.all(message.tool_calls!.map((call) => resultOf(call, tools, signal))),
      signal,
    );
    if (!results) return { message, finishReason: 'abort', messages: conversation, steps };
    conversation.push(message, ...results);
  }
  const names = steps.at(-1)!.message.tool_calls!.map((call) => call.function.name);
  throw new ToolStepLimitError(
    `The model was asked ${maxSteps} times and still calls ${names.join(', ')}. Raise maxSteps, or check that the results of the functions give it what it needs.`,
  );
}

/** An answer that was cut off may have calls that did not run. */
function spoken({ tool_calls: _, ...message }: ChatResult['message']): ChatMessage {
  return message;
}

async function resultOf(
  { id, function: called }: ToolCall,
  tools: Readonly<Record<string, Tool>>,
  signal: AbortSignal | undefined,
): Promise<ChatMessage> {
  const content = await call(called, tools, signal).catch((error: unknown) =>
    JSON.stringify({ error: error instanceof Error ? error.message : String(error) }),
  );
  return { role: 'tool', tool_call_id: id, content };
}

async function call(
  { name, arguments: json }: ToolCall['function'],
  tools: Readonly<Record<string, Tool>>,
  signal: AbortSignal | undefined,
): Promise<string> {
  if (!Object.hasOwn(tools, name)) {
    throw new InvalidInputError(`There is no tool ${name}; there are: ${Object.keys(tools).join(', ')}`);
  }
  const result = await tools[name]!.run(JSON.parse(json) as Record<string, unknown>, { signal });
  return typeof result === 'string' ? result : (JSON.stringify(result) ?? '');
}

/** The result, or undefined once the signal aborts. */
async function unlessAborted<T>(result: Promise<T>, signal: AbortSignal | undefined): Promise<T | undefined> {
  if (!signal) return result;
  let stop = (): void => {};
  const aborted = new Promise<undefined>((resolve) => {
    stop = () => resolve(undefined);
    if (signal.aborted) stop();
    else signal.addEventListener('abort', stop);
  });
  try {
    return await Promise.race([aborted, result]);
  } finally {
    signal.removeEventListener('abort', stop);
  }
}

function checkTools(tools: RunToolsOptions['tools']): void {
  const entries = Object.entries(tools ?? {});
  const wanted =
    'functions by name: { add: { description: "...", parameters: { ... }, run: ({ a, b }) => a + b } }';
  if (entries.length === 0) throw new InvalidInputError(`tools is empty, wanted ${wanted}`);
  for (const [name, tool] of entries) {
    if (typeof tool?.run !== 'function') {
      throw new InvalidInputError(`tools.${name} has no function run, wanted ${wanted}`);
    }
  }
}
