/** @file What callers rely on of ChatTemplate: where it comes from, what it renders, what it tells, how it fails. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { ChatTemplate, ChatTemplateError, thinkState } from '../../tokenizer/index.ts';
import { anyCharacter } from '../any-character.ts';
import { fixtureFolders } from '../fixture-folders.ts';
import { numCases } from '../num-cases.ts';
import { checkRecordedPrompts } from './chat-cases.ts';
import { evalFiles } from './eval-cases.ts';
import { PATIENT } from './tokenizers.ts';

const of = (chatTemplateJinja: string, tokenizerConfig?: unknown) =>
  ChatTemplate.fromCheckpoint({ chatTemplateJinja, tokenizerConfig });
const TAGS = { open: '<think>', close: '</think>' };
const USER = [{ role: 'user', content: 'Hi' }];
const TOOL = { type: 'function', function: { name: 'now', parameters: {} } };

/** The templates of published models, by name. */
const published = new Map<string, ChatTemplate>();
for (const fixture of fixtureFolders('tokenizerGoldens').slice(0, 1)) {
  const { source } = fixture;
  for (const name of [
    'qwen2.5-instruct',
    'qwen3',
    'qwen3-instruct-2507',
    'qwen3-thinking-2507',
    'qwen3-coder',
    'qwq-32b',
    'deepseek-v3',
    'deepseek-v3.1',
    'deepseek-r1-distill-qwen',
  ]) {
    const bytes = await source.readFile(`templates/${name}.jinja`);
    published.set(name, of(new TextDecoder().decode(bytes)));
  }
}

for (const fixture of fixtureFolders('tinyModels')) {
  test.each(evalFiles(fixture))(`${fixture.name} renders the recorded prompts of %s`, (file) =>
    checkRecordedPrompts(fixture, file),
  );
}

describe('where the template comes from', () => {
  const tokenizerConfig = { chat_template: 'config' };

  test('chat_template.jinja wins over tokenizer_config.json', () => {
    expect(ChatTemplate.fromCheckpoint({ tokenizerConfig }).render([])).toBe('config');
    expect(of('file', tokenizerConfig).render([])).toBe('file');
  });

  test('of a list, tool_use is for conversations with tools', () => {
    const chat_template = [
      { name: 'default', template: 'plain {{ enable_thinking }}' },
      { name: 'tool_use', template: '{{ tools | length }} tools' },
      { name: 'broken', template: '{{' },
    ];
    const template = ChatTemplate.fromCheckpoint({ tokenizerConfig: { chat_template } });
    expect(template.render(USER, { templateArgs: { enable_thinking: true } })).toBe('plain True');
    expect(template.render(USER, { tools: [TOOL] })).toBe('1 tools');
    expect(template.abilities).toMatchObject({ readsTools: true, readsEnableThinking: true });
  });

  test('without tool_use, default is for tools as well', () => {
    const chat_template = [{ name: 'default', template: '{{ tools is none }}' }];
    const template = ChatTemplate.fromCheckpoint({ tokenizerConfig: { chat_template } });
    expect([template.render(USER), template.render(USER, { tools: [] })]).toEqual(['True', 'False']);
  });

  test.each([
    ['no template', {}, /no chat template.*chat_template\.jinja/s],
    ['a config that is no object', 7, /no chat template/],
    ['no default', { chat_template: [{ name: 'rag', template: '' }] }, /only templates named rag/],
    ['a list of other things', { chat_template: ['x'] }, /a string.*"name"/s],
    ['a syntax error', { chat_template: 'a\n{% if %}' }, /line 2: Expected an expression.*Jinja2 3\.1/s],
  ])('%s is told', (_, config, message) => {
    const load = () => ChatTemplate.fromCheckpoint({ tokenizerConfig: config });
    expect(load).toThrow(ChatTemplateError);
    expect(load).toThrow(message);
  });

  test('special tokens are variables, as texts or AddedToken objects; null ones are undefined', () => {
    const config = {
      bos_token: { content: '<s>' },
      eos_token: '</s>',
      pad_token: null,
      add_bos_token: true,
      x_token: 3,
    };
    const source =
      '{{ bos_token }}{{ eos_token }}{{ pad_token is defined }}{{ add_bos_token is defined }}{{ x_token is defined }}';
    expect(of(source, config).render([])).toBe('<s></s>FalseFalseFalse');
    expect(of(source, config).render([], { templateArgs: { eos_token: '!' } })).toBe('<s>!FalseFalseFalse');
  });
});

describe('rendering', () => {
  test('the variables are those of transformers', () => {
    const template = of('{{ [messages, tools, documents, add_generation_prompt, x] }}');
    expect(template.render(USER)).toBe("[[{'role': 'user', 'content': 'Hi'}], None, None, False, Undefined]");
    const options = {
      tools: [1],
      addGenerationPrompt: true,
      templateArgs: { documents: [2], x: { y: 1.5 } },
    };
    expect(template.render([], options)).toBe("[[], [1], [2], True, {'y': 1.5}]");
  });

  test('strftime_now reads the clock that is given', () => {
    const source = { chatTemplateJinja: '{{ strftime_now("%d %b %Y") }}', now: () => new Date(2026, 0, 5) };
    expect(ChatTemplate.fromCheckpoint(source).render([])).toBe('05 Jan 2026');
  });

  test('one template renders again and again, and remembers nothing', () => {
    const template = of(
      '{% set ns = namespace(n=0) %}{% for m in messages %}{% set ns.n = ns.n + 1 %}{% endfor %}{{ ns.n }}',
    );
    expect([template.render(USER), template.render([...USER, ...USER]), template.render(USER)]).toEqual([
      '1',
      '2',
      '1',
    ]);
  });

  test('a conversation of a thousand messages renders to its end, without the thoughts of earlier answers', () => {
    const answer = 'answer '.repeat(100);
    const messages = Array.from({ length: 500 }, (_, i) => [
      { role: 'user', content: `Question ${i}` },
      { role: 'assistant', content: `<think>\n${'thought '.repeat(50)}\n</think>\n\n${answer}` },
    ]).flat();
    const last = { role: 'user', content: 'Last' };
    const turns = Array.from(
      { length: 500 },
      (_, i) => `<|im_start|>user\nQuestion ${i}<|im_end|>\n<|im_start|>assistant\n${answer}<|im_end|>\n`,
    );
    expect(published.get('qwen3')!.render([...messages, last], { addGenerationPrompt: true })).toBe(
      `${turns.join('')}<|im_start|>user\nLast<|im_end|>\n<|im_start|>assistant\n`,
    );
  });
});

describe('continuing the final message', () => {
  const template = of(
    '{% for m in messages %}<{{ m.role }}>{{ m.content if m.content is string else m.content[0].text }}</s>\n{% endfor %}',
  );
  const trimming = of('{% for m in messages %}<{{ m.role }}>{{ m.content | trim }}</s>\n{% endfor %}');
  const reply = (content: unknown) => [...USER, { role: 'assistant', content }];
  const go = (chat: ChatTemplate, content: unknown) =>
    chat.render(reply(content), { continueFinalMessage: true });

  test('the text ends with the message, with its last spaces where the template keeps them', () => {
    expect(go(template, 'Sure, ')).toBe('<user>Hi</s>\n<assistant>Sure, ');
    expect(go(trimming, 'Sure, ')).toBe('<user>Hi</s>\n<assistant>Sure,');
    expect(go(template, '\n Sure')).toBe('<user>Hi</s>\n<assistant>\n Sure');
  });

  test('the last occurrence counts, and of parts the last text', () => {
    expect(go(template, 'Hi')).toBe('<user>Hi</s>\n<assistant>Hi');
    expect(go(template, [{ type: 'text', text: 'Hi' }, { type: 'image' }])).toBe(
      '<user>Hi</s>\n<assistant>Hi',
    );
  });

  test.each([
    ['no content', undefined, /is nothing; wanted a text/],
    ['null', null, /is null; wanted a text/],
    ['no text among the parts', [{ type: 'image' }], /wanted a text/],
  ])('%s is told', (_, content, message) => {
    expect(() => go(of('x'), content)).toThrow(message);
    expect(() => go(of('x'), content)).toThrow(ChatTemplateError);
  });

  test('a text that the template drops is told', () => {
    expect(() => go(of('nothing'), 'Sure')).toThrow(/not in the rendered prompt/);
  });

  test('together with a generation prompt it is an error', () => {
    const both = { continueFinalMessage: true, addGenerationPrompt: true };
    expect(() => template.render(reply('x'), both)).toThrow(/give one of them/);
  });
});

describe('what a template can do', () => {
  test.each([
    // name, reads tools, enable_thinking, thinking, where the generation prompt leaves the thinking
    ['qwen2.5-instruct', true, false, false, 'none'],
    ['qwen3', true, true, false, 'none'],
    ['qwen3-instruct-2507', true, false, false, 'none'],
    ['qwen3-thinking-2507', true, false, false, 'open'],
    ['qwen3-coder', true, false, false, 'none'],
    ['qwq-32b', true, false, false, 'open'],
    ['deepseek-v3', false, false, false, 'none'],
    ['deepseek-v3.1', false, false, true, 'closed'],
    ['deepseek-r1-distill-qwen', false, false, false, 'open'],
  ] as const)('%s', (name, readsTools, readsEnableThinking, readsThinking, think) => {
    const template = published.get(name)!;
    expect(template.abilities).toEqual({ readsTools, readsEnableThinking, readsThinking });
    expect(template.generationPrompt(TAGS).think).toBe(think);
  });

  test('the generation prompt depends on the switch of the template', () => {
    const qwen3 = published.get('qwen3')!;
    expect(qwen3.generationPrompt(TAGS, { enable_thinking: false })).toEqual({
      text: '<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n',
      think: 'closed',
    });
    expect(published.get('deepseek-v3.1')!.generationPrompt(TAGS, { thinking: true }).think).toBe('open');
  });

  test('a variable of the template itself is no switch', () => {
    const source =
      "{% set thinking = '' %}{{ thinking }}{{ message.enable_thinking }}{{ 'tools' }}{# tools #}";
    expect(of(source).abilities).toEqual({
      readsTools: false,
      readsEnableThinking: false,
      readsThinking: false,
    });
  });

  test('a template that rejects the short conversation has no known generation prompt', () => {
    expect(of('{{ raise_exception("no") }}').generationPrompt(TAGS)).toEqual({ text: '', think: 'none' });
  });

  test.each([
    ['', 'none'],
    ['a <think> b', 'open'],
    ['<think>\n\n</think>\n\n', 'closed'],
    ['</think>', 'closed'],
    ['<think>a</think> <think>', 'open'],
  ] as const)('the think state of %j is %s', (text, state) => {
    expect(thinkState(text, TAGS)).toBe(state);
    const [open, close] = ['[THINK]', '[/THINK]'];
    const other = text.replaceAll('<think>', open).replaceAll('</think>', close);
    expect(thinkState(other, { open, close })).toBe(state);
  });
});

function caughtFrom(work: () => unknown): unknown {
  try {
    return work();
  } catch (error) {
    return error;
  }
}

describe('errors', () => {
  test.each([
    [
      'what the template raises, and where',
      '\n{{ raise_exception("Roles must alternate") }}',
      /line 2: Roles must alternate.*change them/,
    ],
    [
      'a missing field',
      '{{ messages[0].function.name }}',
      /line 1: 'dict object' has no attribute 'function'.*add it/,
    ],
    [
      'a wrong type',
      '{{ "a" + messages }}',
      /can only concatenate str \(not "list"\) to str.*content as a text/,
    ],
    [
      'endless work',
      '{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}',
      /steps.*shorten/,
    ],
  ])('%s', (_, source, message) => {
    const caught = caughtFrom(() => of(source).render(USER));
    expect(caught).toBeInstanceOf(ChatTemplateError);
    expect((caught as Error).message).toMatch(message);
  });

  test.each([
    ['a text', 'Hello', /messages is a string; wanted an array/],
    ['null', null, /messages is null/],
    ['a list of texts', ['Hello'], /messages\[0\] is a string; wanted an array of objects/],
    ['a list in the list', [{ role: 'user' }, []], /messages\[1\] is an array/],
  ])('messages that are %s are told', (_, messages, message) => {
    expect(() => of('x').render(messages as object[])).toThrow(message);
  });

  test('an argument that render sets itself is told', () => {
    expect(() => of('x').render(USER, { templateArgs: { messages: [] } })).toThrow(
      /templateArgs has 'messages'/,
    );
  });
});

describe('whatever the messages are', PATIENT, () => {
  const text = fc.string({
    unit: fc.constantFrom('a', ' ', '\n', '<think>', '</think>', '😀', '\ud83d', '\0', '{{', '"'),
  });
  const json = fc.jsonValue({ stringUnit: anyCharacter, maxDepth: 3 });
  const content = fc.oneof({ weight: 3, arbitrary: text }, json);
  const call = fc.record(
    { name: text, arguments: json, function: fc.record({ name: text, arguments: json }) },
    { requiredKeys: [] },
  );
  const message = fc.record(
    {
      role: fc.oneof(fc.constantFrom('user', 'assistant', 'system', 'tool'), json),
      content,
      reasoning_content: content,
      tool_calls: fc.oneof(fc.array(call, { maxLength: 2 }), json),
    },
    { requiredKeys: [] },
  );
  const anything = fc.oneof({ weight: 9, arbitrary: message }, fc.anything());

  test.each([...published.keys()])('%s renders text or throws ChatTemplateError', (name) => {
    const template = published.get(name)!;
    fc.assert(
      fc.property(
        fc.array(anything, { maxLength: 4 }),
        fc.option(fc.array(fc.anything(), { maxLength: 2 })),
        fc.boolean(),
        (messages, tools, continueFinalMessage) => {
          try {
            expect(typeof template.render(messages as object[], { tools, continueFinalMessage })).toBe(
              'string',
            );
          } catch (error) {
            expect(error).toBeInstanceOf(ChatTemplateError);
            // A mistake of the engine would come as another error's message.
            const cause = ((error as Error).cause as Error | undefined)?.cause;
            expect(cause === undefined || cause instanceof RangeError, String(cause)).toBe(true);
          }
        },
      ),
      { numRuns: numCases(100) },
    );
  });
});
