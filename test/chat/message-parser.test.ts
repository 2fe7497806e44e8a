import { describe, expect, it } from 'vitest';
import { createMessageBuilder } from '../../src/chat/message.ts';
import { MessageParser, type MessageParserOptions } from '../../src/chat/message-parser.ts';
import { reasoningFormats } from '../../src/chat/reasoning-formats.ts';
import { toolFormatOf } from '../../src/chat/tool-formats.ts';
import type { FormatName } from './any-stream.ts';
import { definitions, deltasOf, formatOf, parse, withTools } from './parsed.ts';

/** Content and calls as short rows: `name(arguments)`; `!` before content that has a malformed call. */
function rows(text: string, options: MessageParserOptions): string[] {
  const { content, tool_calls = [], malformed } = parse([text], options);
  for (const call of tool_calls) expect(JSON.parse(call.function.arguments)).toBeTypeOf('object');
  return [
    (malformed ? '!' : '') + content,
    ...tool_calls.map(({ function: { name, arguments: args } }) => `${name}(${args})`),
  ];
}

describe('reasoning', () => {
  it.each([
    ['ask', '<think>\nones 5+6\n</think>\n\n61.', { reasoning_content: 'ones 5+6', content: '61.' }],
    ['ask', '61.', { reasoning_content: '', content: '61.' }],
    ['ask', '<think>never closed', { reasoning_content: 'never closed', content: '' }],
    ['ask', '<think>\n\n</think>\n\nyes', { reasoning_content: '', content: 'yes' }],
    ['ask', '\n <thin', { reasoning_content: '', content: '\n <thin' }],
    ['open', 'a\n\nb\n</think>\n\nc\n', { reasoning_content: 'a\n\nb', content: 'c\n' }],
    ['open', 'no end', { reasoning_content: 'no end', content: '' }],
    ['closed', 'text </think> stays', { reasoning_content: '', content: 'text </think> stays' }],
    ['closed', '', { reasoning_content: '', content: '' }],
  ] as const)('started %s, %j is cut as expected', (start, text, wanted) => {
    expect(parse([text], { start })).toEqual({ role: 'assistant', ...wanted });
    for (const reasoning of Object.values(reasoningFormats)) {
      const of = (think: string) =>
        think.replaceAll('<think>', reasoning.open).replaceAll('</think>', reasoning.close);
      const message = parse([of(text)], { start, reasoning });
      expect(message).toEqual({ role: 'assistant', ...wanted, content: of(wanted.content) });
    }
  });

  it('in the tags of another format is content', () => {
    for (const reasoning of Object.values(reasoningFormats)) {
      for (const { open, close } of Object.values(reasoningFormats).filter((other) => other !== reasoning)) {
        const text = `${open}a${close}b`;
        expect(parse([text], { start: 'ask', reasoning })).toMatchObject({
          reasoning_content: '',
          content: text,
        });
      }
    }
  });

  it('looks for stop texts in content only, and gives nothing after the first', () => {
    const stop = ['END', 'B'];
    expect(parse(['<think>END</think>\n\nabcENDdef'], { start: 'ask', stop })).toMatchObject({
      reasoning_content: 'END',
      content: 'abc',
    });
    expect(parse(['xBy'], { start: 'closed', stop })).toMatchObject({ content: 'x' });
  });

  it('is never searched for tool calls', () => {
    const call = '<tool_call>\n{"name": "f", "arguments": {}}\n</tool_call>';
    const options = { ...withTools('hermes'), start: 'ask' as const };
    const message = parse([`<think>\n${call}\n</think>\n\n${call}`], options);
    expect(message.reasoning_content).toBe(call);
    expect(message.tool_calls).toHaveLength(1);
    expect(parse([`<think>${call}`], options)).not.toHaveProperty('tool_calls');
  });
});

describe('tool calls', () => {
  it.each([
    ['qwen3', 'hermes'],
    ['qwen3-instruct-2507', 'hermes'],
    ['qwen3-thinking-2507', 'hermes'],
    ['qwen2.5-instruct', 'hermes'],
    ['qwq-32b', 'hermes'],
    ['qwen3-coder', 'coder'],
    ['deepseek-v3', 'v3'],
    ['deepseek-v3-0324', 'v3'],
    ['deepseek-r1', 'v3'],
    ['deepseek-v3.1', 'v31'],
  ] as const)('of the template %s are read as %s', (template, format) => {
    const [, text] = GOLDEN.find(([name]) => name === format)!;
    const options = { start: 'closed' as const, tools: { format: formatOf(template)!, definitions } };
    expect(parse([text], options)).toEqual(parse([text], withTools(format)));
  });

  it('are not looked for when the template knows none', () => {
    expect(toolFormatOf('{{ messages[0].content }}')).toBeUndefined();
  });

  const V3 = '<｜tool▁call▁begin｜>function<｜tool▁sep｜>f\n```json\n{"a": 1}\n```<｜tool▁call▁end｜>';
  const V31 = '<｜tool▁call▁begin｜>f<｜tool▁sep｜>{"a": 1}<｜tool▁call▁end｜>';
  const GOLDEN: [FormatName, string, ...string[]][] = [
    // As the templates of the checkpoints write them.
    ['hermes', '<tool_call>\n{"name": "f", "arguments": {"a": 1}}\n</tool_call>', '', 'f({"a": 1})'],
    [
      'coder',
      '<tool_call>\n<function=f>\n<parameter=text>\nx\ny\n</parameter>\n<parameter=count>\n3\n</parameter>\n</function>\n</tool_call>',
      '',
      'f({"text": "x\\ny", "count": 3})',
    ],
    ['v3', `<｜tool▁calls▁begin｜>${V3}\n${V3}<｜tool▁calls▁end｜>`, '', 'f({"a": 1})', 'f({"a": 1})'],
    ['v31', `<｜tool▁calls▁begin｜>${V31}${V31}<｜tool▁calls▁end｜>`, '', 'f({"a": 1})', 'f({"a": 1})'],
    // Text before, between and behind.
    [
      'hermes',
      'One.\n<tool_call>{"name":"f","arguments":{}}</tool_call>\n<tool_call>{"name":"g","arguments":{}}</tool_call>\n',
      'One.',
      'f({})',
      'g({})',
    ],
    ['hermes', 'One.\n\n<tool_call>{"name":"f","arguments":{}}</tool_call>\nTwo.\n', 'One.\nTwo.\n', 'f({})'],
    ['v3', `One.${V3}Two.`, 'One.Two.', 'f({"a": 1})'],
    ['v31', `One.<｜tool▁calls▁begin｜>${V31}<｜tool▁calls▁end｜>Two.`, 'One.Two.', 'f({"a": 1})'],
    // The outer tag left out, or the end.
    ['coder', 'Ok.\n<function=g>\n</function>\n</tool_call>', 'Ok.', 'g({})'],
    [
      'coder',
      '<tool_call><function=f><parameter=text>a<parameter=size>s</function>',
      '',
      'f({"text": "a", "size": "s"})',
    ],
    ['hermes', '<tool_call>\n{"name": "f", "arguments": {}}', '', 'f({})'],
    ['hermes', '<tool_call>\n{"name": "f", "arguments": {}}\n</tool_', '', 'f({})'],
    ['v3', V3.slice(0, -20), '', 'f({"a": 1})'],
    // Keys in another order, none, more.
    [
      'hermes',
      '<tool_call>{"arguments": {"a": [1, {"b": "}"}]}, "name": "f"}</tool_call>',
      '',
      'f({"a": [1, {"b": "}"}]})',
    ],
    ['hermes', '<tool_call>{"name": "f"}</tool_call>', '', 'f({})'],
    ['hermes', '<tool_call>{"id": 12, "ok": true, "name": "f", "arguments": {}}</tool_call>', '', 'f({})'],
    // Tags, quotes and braces inside strings are text.
    [
      'hermes',
      '<tool_call>{"name": "f", "arguments": {"a": "</tool_call> \\"<tool_call>{ 🙂"}}</tool_call>',
      '',
      'f({"a": "</tool_call> \\"<tool_call>{ 🙂"})',
    ],
    ['v31', V31.replace('1', '"<｜tool▁call▁end｜>"'), '', 'f({"a": "<｜tool▁call▁end｜>"})'],
    // Tags of content that belong to no call.
    ['coder', 'a </tool_call> b', 'a </tool_call> b'],
    ['v3', '<｜tool▁calls▁end｜>', '<｜tool▁calls▁end｜>'],
    // Malformed: nothing is lost, and what follows is read.
    ['hermes', 'Use <tool_call> here.', '!Use <tool_call> here.'],
    [
      'hermes',
      '<tool_call>\n{"name": "f", "arguments": {"a": 1',
      '!<tool_call>\n{"name": "f", "arguments": {"a": 1',
    ],
    [
      'hermes',
      '<tool_call>{"name": "f", "arguments": {"a": tru}}</tool_call>',
      '!<tool_call>{"name": "f", "arguments": {"a": tru}}</tool_call>',
    ],
    [
      'hermes',
      '<tool_call>{"name": "f", "arguments": {}}}</tool_call>',
      '!<tool_call>{"name": "f", "arguments": {}}}</tool_call>',
    ],
    [
      'hermes',
      '<tool_call>{"name": "f", "arguments": "x"}</tool_call>',
      '!<tool_call>{"name": "f", "arguments": "x"}</tool_call>',
    ],
    ['hermes', '<tool_call>{"arguments": {}}</tool_call>', '!<tool_call>{"arguments": {}}</tool_call>'],
    [
      'hermes',
      '<tool_call>{"name": "f", "name": "g"}</tool_call>',
      '!<tool_call>{"name": "f", "name": "g"}</tool_call>',
    ],
    ['hermes', '<tool_call>{"name": 5}</tool_call>', '!<tool_call>{"name": 5}</tool_call>'],
    ['hermes', '<tool_call>\n<tool_call>{"name": "f"}</tool_call>', '!<tool_call>\n', 'f({})'],
    [
      'hermes',
      '<tool_call>{"name": "f", "arguments": {"a": "b}}\n</tool_call>\n<tool_call>{"name": "g"}</tool_call>',
      '!<tool_call>{"name": "f", "arguments": {"a": "b}}\n</tool_call>',
      'g({})',
    ],
    [
      'coder',
      '<tool_call>\n<function=f>\n<parameter=text>\ncut',
      '!<tool_call>\n<function=f>\n<parameter=text>\ncut',
    ],
    ['coder', '<tool_call>\n<function=>\n</function>', '!<tool_call>\n<function=>\n</function>'],
    ['coder', '<function=f>\njunk</function>', '!<function=f>\njunk</function>'],
    ['v3', '<｜tool▁calls▁begin｜>no', '!<｜tool▁calls▁begin｜>no'],
    ['v3', V31, `!${V31}`],
    ['v31', V31.replace('{', '['), `!${V31.replace('{', '[')}`],
  ];
  it.each(GOLDEN)('in %s, %j becomes %j', (format, text, ...wanted) => {
    expect(rows(text, withTools(format))).toEqual(wanted);
  });

  it.each([
    ['text', '5', '"5"'],
    ['text', 'null', '"null"'],
    ['text', '\n a\t"b"\\🙂\n', '"\\n a\\t\\"b\\"\\\\🙂\\n"'],
    ['text', '', '""'],
    ['unknown', '5', '"5"'],
    ['count', '007', '7'],
    ['count', '-12345678901234567890', '-12345678901234567890'],
    ['count', '5.0', '5'],
    ['count', 'five', '"five"'],
    ['count', 'null', 'null'],
    ['ratio', '5.50', '5.5'],
    ['ratio', '1e400', '"1e400"'],
    ['flag', 'True', 'true'],
    ['flag', 'maybe', '"maybe"'],
    ['list', '[1, 2]', '[1, 2]'],
    ['list', '[1, 2', '"[1, 2"'],
    ['any', '5', '5'],
    ['any', 'five', '"five"'],
    ['maybe', 'None', 'null'],
    ['maybe', '{"a": {}}', '{"a": {}}'],
    ['size', 'm', '"m"'],
    ['ref', '{"x": 1}', '{"x": 1}'],
    ['constructor', 'a', '"a"'],
  ])('the XML parameter %s with %j is %s in JSON', (key, value, wanted) => {
    const text = `<tool_call>\n<function=f>\n<parameter=${key}>\n${value}\n</parameter>\n</function>\n</tool_call>`;
    expect(rows(text, withTools('coder'))).toEqual(['', `f({"${key}": ${wanted}})`]);
  });

  it('stream: the name first, then the arguments as they come', () => {
    const chunks = [
      'Hm.\n<tool',
      '_call>\n{"name": "f", ',
      '"arguments": {"a',
      '": "b',
      'c"}',
      '}\n</tool_call>',
    ];
    const deltas = deltasOf(chunks, withTools('hermes'));
    const id = expect.stringMatching(/^call_/);
    expect(deltas).toEqual([
      { content: 'Hm.' },
      { toolCalls: [{ index: 0, id, type: 'function', function: { name: 'f', arguments: '' } }] },
      { toolCalls: [{ index: 0, type: 'function', function: { arguments: '{"a' } }] },
      { toolCalls: [{ index: 0, type: 'function', function: { arguments: '": "b' } }] },
      { toolCalls: [{ index: 0, type: 'function', function: { arguments: 'c"' } }] },
      // The brace waits for the end of the call: a client that sees complete JSON may already run the function.
      { toolCalls: [{ index: 0, type: 'function', function: { arguments: '}' } }] },
    ]);
  });

  it('stream strings of XML parameters before they end', () => {
    const parser = new MessageParser(withTools('coder'));
    parser.push('<tool_call><function=f><parameter=text>\n');
    expect(parser.push('a\n')).toMatchObject([{ toolCalls: [{ function: { arguments: 'a' } }] }]);
    expect(parser.push('b')).toMatchObject([{ toolCalls: [{ function: { arguments: '\\nb' } }] }]);
  });

  it('that turn out malformed while they stream are taken back by index', () => {
    const deltas = deltasOf(['<tool_call>{"name": "f", "arguments": {"a": ', 'oops}'], withTools('hermes'));
    expect(deltas.at(-1)).toEqual({
      content: '<tool_call>{"name": "f", "arguments": {"a": oops}',
      malformed: true,
      droppedCall: 0,
    });
    const next = '<tool_call>{"name": "g"}</tool_call>';
    expect(deltasOf([`<tool_call>{"name": "f", 5}${next}`], withTools('hermes')).at(-1)).toMatchObject({
      toolCalls: [{ index: 1, function: { name: 'g' } }],
    });
  });

  it('may hold a stop text in their arguments; content ends at it', () => {
    const text = 'a <tool_call>{"name": "f", "arguments": {"x": "STOP"}}</tool_call> b STOP c';
    expect(rows(text, { ...withTools('hermes'), stop: ['STOP'] })).toEqual(['a b ', 'f({"x": "STOP"})']);
  });

  it('end the answer, where one is all that is wanted', () => {
    const call = '<tool_call>{"name": "f", "arguments": {}}</tool_call>';
    const { format } = withTools('hermes').tools!;
    const parser = new MessageParser({ start: 'closed', tools: { format, definitions, isSingle: true } });
    const builder = createMessageBuilder();
    const broken = '<tool_call>f()</tool_call>';
    for (const delta of parser.push(`Well. ${broken}${call}${call} Done.`)) builder.add(delta);
    expect(parser.isStopped).toBe(true);
    expect(builder.build()).toMatchObject({
      content: `Well. ${broken}`,
      tool_calls: [{ function: { name: 'f' } }],
    });
    expect(parser.end()).toEqual([]);
  });

  it('end the answer where their tag is a stop text', () => {
    const text = 'a <tool_call>{"name": "f"}</tool_call>';
    expect(rows(text, { ...withTools('hermes'), stop: ['<tool_call>{'] })).toEqual(['a ']);
  });

  it('nested without end are malformed, not a crash', () => {
    const text = `<tool_call>{"name": "f", "arguments": ${'{"a":'.repeat(200_000)}`;
    expect(rows(text, withTools('hermes'))).toEqual([`!${text}`]);
  });
});
