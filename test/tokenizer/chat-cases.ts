/** @file Checks of chat templates against recorded texts, for Node and for a page. */
import { expect } from 'vitest';
import { ChatTemplate } from '../../tokenizer/index.ts';
import { compile } from '../../tokenizer/jinja/template.ts';
import type { Fixture } from '../fixture-folders.ts';

interface Golden {
  expected?: string;
  error?: unknown;
}
interface ChatRow extends Golden {
  template: string;
  case: string;
  messages: object[];
  kwargs: Record<string, unknown>;
}
interface JinjaRow extends Golden {
  id: string;
  template: string;
  context: Record<string, unknown>;
}
interface EvalCase {
  mode: string;
  messages: object[];
  tools: object[] | null;
  enable_thinking: boolean;
  prompt: string;
}

/** The clock of the recorded texts. */
const NOW = () => new Date(2026, 0, 15, 12, 0);
const QWEN_TOKENS = { bos_token: null, eos_token: '<|im_end|>', pad_token: '<|endoftext|>' };
const DEEPSEEK_TOKENS = {
  bos_token: { __type: 'AddedToken', content: '<｜begin▁of▁sentence｜>' },
  eos_token: { __type: 'AddedToken', content: '<｜end▁of▁sentence｜>' },
  pad_token: { __type: 'AddedToken', content: '<｜end▁of▁sentence｜>' },
};

async function readText(fixture: Fixture, file: string): Promise<string> {
  return new TextDecoder().decode(await fixture.source.readFile(file));
}

async function readRows<Row>(fixture: Fixture, file: string): Promise<Row[]> {
  const lines = (await readText(fixture, file)).split('\n');
  return lines.filter((line) => line !== '').map((line) => JSON.parse(line) as Row);
}

/** The text of each row, or any error where the golden has one. Prints the line of the file. */
function checkRows<Row extends Golden>(
  name: string,
  rows: readonly Row[],
  render: (row: Row) => string,
  titleOf: (row: Row) => string,
): void {
  const failures = rows.flatMap((row) => {
    const found = attempt(() => render(row));
    const isRight = row.error ? found.error !== undefined : found.text === row.expected;
    if (isRight) return [];
    const wanted = row.error ? `an error like ${JSON.stringify(row.error)}` : JSON.stringify(row.expected);
    return [`${titleOf(row)}:\n  found  ${found.error ?? JSON.stringify(found.text)}\n  wanted ${wanted}`];
  });
  console.log(`${name}: ${rows.length - failures.length} of ${rows.length} rows`);
  expect(rows.length, 'rows').toBeGreaterThan(0);
  expect(failures.length, `rows that differ:\n${failures.slice(0, 5).join('\n')}\n`).toBe(0);
}

function attempt(render: () => string): { text?: string; error?: unknown } {
  try {
    return { text: render() };
  } catch (error) {
    return { error };
  }
}

/** chat.jsonl: whole conversations with the templates of published models. */
export async function checkChatRows(fixture: Fixture): Promise<void> {
  const rows = await readRows<ChatRow>(fixture, 'chat.jsonl');
  const names = [...new Set(rows.map(({ template }) => template))];
  const templates = new Map(
    await Promise.all(
      names.map(async (name) => {
        const chatTemplateJinja = await readText(fixture, `templates/${name}.jinja`);
        const tokenizerConfig = name.startsWith('deepseek') ? DEEPSEEK_TOKENS : QWEN_TOKENS;
        return [name, ChatTemplate.fromCheckpoint({ chatTemplateJinja, tokenizerConfig, now: NOW })] as const;
      }),
    ),
  );
  const render = ({ template, messages, kwargs }: ChatRow) => {
    const { tools, add_generation_prompt, continue_final_message, ...templateArgs } = kwargs;
    return templates.get(template)!.render(messages, {
      tools: tools as object[] | undefined,
      addGenerationPrompt: add_generation_prompt === true,
      continueFinalMessage: continue_final_message === true,
      templateArgs,
    });
  };
  checkRows(`${fixture.name}/chat.jsonl`, rows, render, (row) => `${row.template}, ${row.case}`);
}

/** jinja.jsonl: small templates for the engine alone. */
export async function checkJinjaRows(fixture: Fixture): Promise<void> {
  const render = (row: JinjaRow) => compile(row.template).render(row.context, NOW);
  const rows = await readRows<JinjaRow>(fixture, 'jinja.jsonl');
  checkRows(
    `${fixture.name}/jinja.jsonl`,
    rows,
    render,
    (row) => `${row.id} ${JSON.stringify(row.template)}`,
  );
}

/** Every recorded prompt of a tiny model is what its template renders. */
export async function checkRecordedPrompts(fixture: Fixture, evalFile: string): Promise<void> {
  const tokenizerConfig: unknown = JSON.parse(await readText(fixture, 'tokenizer_config.json'));
  const chatTemplateJinja = await readText(fixture, 'chat_template.jinja');
  const { cases } = JSON.parse(await readText(fixture, evalFile)) as { cases: EvalCase[] };
  expect(cases.length).toBeGreaterThan(0);
  for (const source of [{ chatTemplateJinja, tokenizerConfig }, { tokenizerConfig }]) {
    const template = ChatTemplate.fromCheckpoint(source);
    for (const { mode, messages, tools, enable_thinking, prompt } of cases) {
      const text = template.render(messages, {
        tools,
        addGenerationPrompt: true,
        templateArgs: { enable_thinking },
      });
      // In budget mode the recorded prompt goes on with the reasoning that the runtime has cut short.
      if (mode === 'budget') expect(prompt.slice(text.length)).toMatch(/^<think>[\s\S]*<\/think>\n\n$/);
      expect(text).toBe(mode === 'budget' ? prompt.slice(0, text.length) : prompt);
    }
  }
}
