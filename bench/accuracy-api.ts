/**
 * @file `npm run bench:accuracy:api [-- --model DIR ...] [--tasks tool_call,json,needle] [--modes budget,soft_nothink]`: the prompts of
 * bench/accuracy.ts once more as requests of the OpenAI API, with tools, `enable_thinking` and `thinking_budget` where the recorded
 * prompt has them in its text; beside it the answers to the same prompts as token ids, and the accuracy that was recorded. Greedy
 * decoding in f32.
 */
import { readFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { parseArgs } from 'node:util';
import {
  type ChatCompletion,
  type ChatCompletionRequest,
  engineOf,
  loadModel,
  type RequestMessage,
  type RequestTool,
} from '../src/index.ts';
import { folder, gpu } from '../src/node.ts';
import { answerTo, END, isRight, MAX_TOKENS, type Prompt, prompts } from './accuracy-cases.ts';

const EMBEDDED = ['tiny-qwen3', 'tiny-deepseek-v3'].map(
  (name) => new URL(`../examples/models/${name}/`, import.meta.url).pathname,
);
const STOP_THINKING =
  '\n\nConsidering the limited time by the user, I have to give the solution based on the thinking directly now.\n</think>\n\n';
const NO_THINKING = '<think>\n\n</think>\n\n';

const { values } = parseArgs({
  options: {
    model: { type: 'string', multiple: true, default: EMBEDDED },
    tasks: { type: 'string', default: 'tool_call,tool_answer,json,needle' },
    modes: { type: 'string', default: 'budget,soft_nothink,soft_think' },
  },
});
const [tasks, modes] = [values.tasks.split(','), values.modes.split(',')];
const asked = prompts.filter(({ task, mode }) => tasks.includes(task) || modes.includes(mode));

interface Recorded {
  by_task: Record<string, { accuracy: number }>;
  by_mode: Record<string, { accuracy: number }>;
}

for (const path of values.model) {
  const model = await loadModel(folder(path), { gpu: await gpu(), precision: 'f32', contextLength: 2048 });
  const engine = engineOf(model);
  const recorded = JSON.parse(await readFile(join(path, 'accuracy.json'), 'utf8')) as Recorded;
  const groups = new Map<string, { api: boolean; ids: boolean }[]>();
  try {
    for (const prompt of asked) {
      const request = requestOf(
        model.tokenizer.decode(prompt.prompt),
        (text) => model.tokenizer.encode(text).length,
      );
      const completion = await engine.chat.completions.create({
        ...request,
        stream: false,
        temperature: 0,
        max_completion_tokens: MAX_TOKENS,
      });
      if (prompt.mode !== 'budget' && completion.usage.prompt_tokens !== prompt.prompt.length) {
        throw new Error(
          `${prompt.task}, ${prompt.mode}: the request became ${completion.usage.prompt_tokens} tokens, the prompt has ${prompt.prompt.length}`,
        );
      }
      const right = {
        api: isRight(prompt, textOf(completion, prompt)),
        ids: isRight(prompt, await answerTo(model, prompt.prompt)),
      };
      for (const name of [`task ${prompt.task}`, `mode ${prompt.mode}`]) {
        groups.set(name, [...(groups.get(name) ?? []), right]);
      }
    }
  } finally {
    model.dispose();
  }
  console.log(basename(path));
  for (const [name, right] of groups) {
    const [kind, of] = name.split(' ') as ['task' | 'mode', string];
    if (!(kind === 'task' ? tasks : modes).includes(of)) continue;
    const share = (asked: 'api' | 'ids'): string => {
      const count = right.filter((row) => row[asked]).length;
      return `${String(count).padStart(3)} of ${right.length} (${((100 * count) / right.length).toFixed(1)} %)`;
    };
    const known = 100 * (recorded[`by_${kind}`][of]?.accuracy ?? Number.NaN);
    console.log(
      `  ${name.padEnd(20)} API ${share('api')}, token ids ${share('ids')}, recorded ${known.toFixed(1)} %`,
    );
  }
}

/** The request whose prompt this text is. `count` gives the tokens of a text. */
function requestOf(text: string, count: (text: string) => number): ChatCompletionRequest {
  const turns = text
    .split('<|im_start|>')
    .slice(1)
    .map((turn) => {
      const [, role, body] = turn.match(/^(\w+)\n(.*)$/s) ?? [];
      return { role: role!, body: body!.replace(/<\|im_end\|>\n$/, '') };
    });
  const opening = turns.pop()!.body;
  const request = { messages: [] as RequestMessage[], tools: undefined as RequestTool[] | undefined };
  for (const { role, body } of turns) {
    const [, said, tools] =
      body.match(/^(.*?)(?:^|\n\n)You can call these tools:\n(.*)\nTo call one.*$/s) ?? [];
    if (role === 'system' && tools !== undefined) {
      request.tools = tools.split('\n').map((line) => JSON.parse(line) as RequestTool);
      if (said) request.messages.push({ role, content: said });
    } else if (body.startsWith('\n<tool_response>') || body.startsWith('<tool_response>')) {
      const [, content] = body.match(/<tool_response>\n(.*)\n<\/tool_response>/s)!;
      request.messages.push({ role: 'tool', tool_call_id: 'call_0', content: content! });
    } else if (role === 'assistant') request.messages.push(assistantOf(body));
    else request.messages.push({ role, content: body });
  }
  if (opening === '') return request;
  if (opening === NO_THINKING) return { ...request, enable_thinking: false };
  return { ...request, thinking_budget: count(opening.slice(0, -STOP_THINKING.length)) };
}

function assistantOf(body: string): RequestMessage {
  const [, thought, rest] = body.match(/^<think>\n(.*?)\n<\/think>\n\n(.*)$/s) ?? [];
  const said = rest ?? body;
  const [, before, name, args] =
    said.match(/^(.*?)\n?<tool_call>\n\{"name": "(\w+)", "arguments": (.*)\}\n<\/tool_call>$/s) ?? [];
  return {
    role: 'assistant',
    content: name === undefined ? said : before!,
    ...(thought !== undefined && { reasoning_content: thought }),
    ...(name !== undefined && {
      tool_calls: [{ id: 'call_0', type: 'function', function: { name, arguments: args! } }],
    }),
  };
}

/** An answer as the model would have written it, which is what the recorded answers are compared with. */
function textOf({ choices: [choice] }: ChatCompletion, { mode, expected }: Prompt): string {
  const { message, finish_reason } = choice!;
  const calls = (message.tool_calls ?? []).map(
    ({ function: { name, arguments: args } }) =>
      `<tool_call>\n{"name": "${name}", "arguments": ${args}}\n</tool_call>`,
  );
  const answer = [message.content ?? '', ...calls].filter((text) => text !== '').join('\n');
  // A prompt with an empty think block has it before the answer, the recorded answers to a soft switch write it themselves.
  const thought = message.reasoning_content ?? '';
  const isOpen = mode !== 'budget' && expected.includes('</think>');
  const opening = isOpen ? (thought === '' ? NO_THINKING : `<think>\n${thought.trim()}\n</think>\n\n`) : '';
  return `${opening}${answer}${finish_reason === 'length' ? '' : END}`;
}
