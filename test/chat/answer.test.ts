/** @file Answers of a scripted session: thinking of every format, also where its tags are control tokens, budgets and masks. */
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { Answer } from '../../src/chat/answer.ts';
import { createConstrainer } from '../../src/chat/constrained.ts';
import { createMessageBuilder } from '../../src/chat/message.ts';
import { MessageParser } from '../../src/chat/message-parser.ts';
import { type ReasoningFormat, reasoningFormats } from '../../src/chat/reasoning-formats.ts';
import type { AssistantMessage } from '../../src/chat/types.ts';
import type { Session } from '../../src/runtime/generate/session.ts';
import { Tokenizer } from '../../tokenizer/index.ts';

const tokenizerJson = JSON.parse(
  readFileSync(new URL('../../examples/models/tiny-qwen3/tokenizer.json', import.meta.url), 'utf8'),
);

/** The tokenizer of a checkpoint that has the tags as tokens. */
function tokenizerWith({ open, close }: ReasoningFormat, special: boolean): Tokenizer {
  const kept = tokenizerJson.added_tokens.filter(
    ({ content }: { content: string }) => !content.includes('think>'),
  );
  const tags = [open, close].map((content, i) => ({ ...kept[0], id: 1022 + i, content, special }));
  return Tokenizer.fromJSON({ ...tokenizerJson, added_tokens: [...kept, ...tags] });
}

/** Says a text, and after what was put in another one. */
function sessionOf(tokenizer: Tokenizer, said: string, afterForced: string): Pick<Session, 'generate'> {
  return {
    async *generate(_, { accept, force }) {
      let ids = [...tokenizer.encode(said, { addBos: false })];
      while (ids.length > 0) {
        const id = ids.shift()!;
        const goesOn = accept(id, undefined);
        yield id;
        if (goesOn) continue;
        const forced = force?.();
        if (!forced) break;
        for (const put of forced) {
          accept(put, undefined);
          yield put;
        }
        ids = [...tokenizer.encode(afterForced, { addBos: false })];
      }
      const none = { cachedTokens: 0, draftTokens: 0, acceptedTokens: 0, numSteps: 0 };
      return { finishReason: 'stop', ...none, written: '', prefillTime: 0, decodeTime: 0 };
    },
  };
}

interface Script {
  format: ReasoningFormat;
  tokenizer: Tokenizer;
  said: string;
  thinkingBudget?: number;
}

async function messageOf({ format, tokenizer, said, thinkingBudget }: Script): Promise<AssistantMessage> {
  const parser = new MessageParser({ start: 'ask', reasoning: format });
  const answer = new Answer(sessionOf(tokenizer, said, 'So 5.'), tokenizer, parser, [0], {
    sampling: { temperature: 0 },
    stopTokens: new Set(),
    thinkingBudget,
  } as never);
  for await (const _ of answer.tokens);
  answer.end();
  const builder = createMessageBuilder();
  for (const delta of answer.take()) builder.add(delta);
  return builder.build();
}

const rows = Object.entries(reasoningFormats).flatMap(([kind, format]) =>
  [false, true].map((special) => [kind, special ? 'control' : 'plain', format, special] as const),
);

describe.each(rows)('thinking as %s with tags that are %s tokens', (_kind, _tokens, format, special) => {
  const tokenizer = tokenizerWith(format, special);
  const { open, close } = format;

  it('is told from the answer', async () => {
    const said = `${open}\nIt is 5.\n${close}\n\nIt is 5, é🙂.`;
    expect(await messageOf({ format, tokenizer, said })).toMatchObject({
      reasoning_content: 'It is 5.',
      content: 'It is 5, é🙂.',
    });
  });

  it('ends at its budget, and the answer goes on', async () => {
    const said = `${open}a b c d e f g h i j`;
    const cut = await messageOf({ format, tokenizer, said, thinkingBudget: 4 });
    expect(cut.reasoning_content).toMatch(/^a b/);
    expect(cut.reasoning_content).not.toContain('j');
    expect(cut.content).toBe('So 5.');
    const none = await messageOf({ format, tokenizer, said, thinkingBudget: 0 });
    expect(none).toMatchObject({ reasoning_content: '', content: 'So 5.' });
  });

  it('may come before an answer that is held to a form', () => {
    const constrain = createConstrainer({
      tokenizer,
      vocabSize: tokenizer.vocabSize,
      stopTokens: [],
      reasoning: format,
      toolFormat: undefined,
    });
    const id = tokenizer.tokenToId(open)!;
    const responseFormat = { type: 'json_object' } as const;
    const isAllowed = (mask: Uint32Array | undefined) => ((mask![id >>> 5]! >>> (id & 31)) & 1) === 1;
    expect(isAllowed(constrain({ responseFormat }, 'ask').mask())).toBe(true);
    expect(isAllowed(constrain({ responseFormat }, 'closed').mask())).toBe(false);
  });
});
