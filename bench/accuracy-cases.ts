/**
 * @file Held-out prompts of the embedded models and what counts as a right answer: the first of each kind that the models' recorded
 * accuracy was measured with, made by their training scripts.
 */
import { readFile } from 'node:fs/promises';
import type { Model } from '../src/index.ts';

export interface Prompt {
  task: string;
  mode: string;
  /** Token ids. */
  prompt: number[];
  expected: string;
  /** A story is right when it has the form and so many sentences. */
  story?: { pattern: string; sentences: number };
}

export const END = '<|im_end|>';
/** Longer than any right answer. */
export const MAX_TOKENS = 160;

export const prompts = JSON.parse(
  await readFile(new URL('accuracy-prompts.json', import.meta.url), 'utf8'),
) as Prompt[];

/** The greedy answer to token ids. */
export async function answerTo(model: Model, ids: readonly number[]): Promise<string> {
  const generation = model.generate(ids, { temperature: 0, maxTokens: MAX_TOKENS });
  let next = await generation.next();
  while (!next.done) next = await generation.next();
  return model.tokenizer.decode(next.value.ids);
}

/** The answer behind the reasoning is the expected one, and there is reasoning where there should be. */
export function isRight({ task, mode, expected, story }: Prompt, text: string): boolean {
  if (!text.endsWith(END)) return false;
  const mark = '\n</think>\n\n';
  let found = text;
  if (expected.includes('</think>')) {
    const [reasoning, rest] = split(text, mark);
    const isThinking = mode === 'think' || mode === 'soft_think';
    if (rest === undefined || !reasoning.startsWith('<think>\n') || reasoning.length > 9 !== isThinking)
      return false;
    found = rest;
  } else if (text.includes('think>')) return false;
  const answer = expected.split('</think>\n\n').at(-1)!;
  if (story) {
    const told = found.slice(0, -END.length);
    return new RegExp(`^(?:${story.pattern})$`).test(told) && told.split('.').length - 1 === story.sentences;
  }
  if (task === 'tool_call') return isSameCall(found, answer);
  return found === answer;
}

function split(text: string, mark: string): [string, string | undefined] {
  const at = text.indexOf(mark);
  return at < 0 ? [text, undefined] : [text.slice(0, at), text.slice(at + mark.length)];
}

function isSameCall(found: string, answer: string): boolean {
  const call = (text: string): string => {
    const [, body = ''] = text.match(/<tool_call>\n(.*?)\n<\/tool_call>/s) ?? [];
    const { name, arguments: given } = JSON.parse(body) as {
      name: string;
      arguments: Record<string, unknown>;
    };
    return JSON.stringify([name, Object.entries(given).sort(([a], [b]) => (a < b ? -1 : 1))]);
  };
  try {
    return call(found) === call(answer);
  } catch {
    return false;
  }
}
