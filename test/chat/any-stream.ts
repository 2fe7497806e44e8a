/** @file Random model output: think blocks, prose, tool calls of a format, whole, damaged and cut, with tags in strings. */
import fc from 'fast-check';
import { type ReasoningFormat, reasoningFormats } from '../../src/chat/reasoning-formats.ts';

export const FORMATS = ['hermes', 'coder', 'v3', 'v31'] as const;
export type FormatName = (typeof FORMATS)[number];

const SCRAPS = [
  ...['<tool_call>', '</tool_call>', '<function=f>', '</function>', '<parameter=text>', '</parameter>'],
  ...[
    '<｜tool▁calls▁begin｜>',
    '<｜tool▁call▁begin｜>',
    '<｜tool▁sep｜>',
    '<｜tool▁call▁end｜>',
    '<｜tool▁calls▁end｜>',
  ],
  ...Object.values(reasoningFormats).flatMap(({ open, close }) => [open, close]),
  ...['```', '```json', '<', '</', '<tool', '<｜', '\n', '\n\n', ' ', '{', '}', '"', '\\', ','],
  ...['{"name": "f"', '"arguments": {', 'a', 'stop', 'sto', 'op', '🙂', '👩‍👩‍👧', 'é', '\ud83d', '1'],
];
const scrap = fc.constantFrom(...SCRAPS);
const text = fc.array(scrap, { maxLength: 5 }).map((list) => list.join(''));
const prose = fc
  .array(fc.constantFrom('Well', ' ', '\n', ' stop', '🙂', '.'), { maxLength: 5 })
  .map((l) => l.join(''));
const json = fc.dictionary(
  fc.oneof(fc.constantFrom('a', 'text', 'count'), text),
  fc.oneof(text, fc.jsonValue()),
  {
    maxKeys: 3,
  },
);
const gap = fc.constantFrom('', '\n', ' \n', '\n\n');

/** A call as a model writes it. */
function call(format: FormatName): fc.Arbitrary<string> {
  const name = fc.constantFrom('f', 'get_weather', 'a-b.c');
  return fc.tuple(name, json, gap, fc.boolean()).map(([called, args, space, isPretty]) => {
    const body = JSON.stringify(args, null, isPretty ? 2 : 0);
    if (format === 'hermes') {
      const whole = JSON.stringify({ name: called, arguments: args }, null, isPretty ? 2 : 0);
      return `<tool_call>${space}${whole}${space}</tool_call>`;
    }
    if (format === 'coder') {
      const parameters = Object.entries(args).map(
        ([key, value]) =>
          `<parameter=${key}>\n${typeof value === 'string' ? value : JSON.stringify(value)}\n</parameter>\n`,
      );
      return `<tool_call>${space}<function=${called}>\n${parameters.join('')}</function>${space}</tool_call>`;
    }
    const inner =
      format === 'v3'
        ? `function<｜tool▁sep｜>${called}\n\`\`\`json\n${body}\n\`\`\``
        : `${called}<｜tool▁sep｜>${body}`;
    const one = `<｜tool▁call▁begin｜>${inner}<｜tool▁call▁end｜>`;
    return isPretty ? one : `<｜tool▁calls▁begin｜>${one}${space}${one}<｜tool▁calls▁end｜>`;
  });
}

/** The same with a scrap put in, or a piece taken out. */
function damaged(format: FormatName): fc.Arbitrary<string> {
  return fc
    .tuple(call(format), fc.nat(), fc.nat(6), fc.oneof(scrap, fc.constant('')))
    .map(([whole, at, length, put]) => {
      const begin = at % (whole.length + 1);
      return whole.slice(0, begin) + put + whole.slice(begin + length);
    });
}

export function anyStream(
  format: FormatName,
  { open, close }: ReasoningFormat = reasoningFormats.think,
): fc.Arbitrary<string> {
  const part = fc.oneof(call(format), damaged(format), prose, text, gap);
  const thought = fc.oneof(
    fc.constant(''),
    fc.tuple(text, gap, gap).map(([inner, before, after]) => open + before + inner + before + close + after),
  );
  return fc
    .tuple(thought, fc.array(part, { maxLength: 5 }), fc.oneof(fc.constant(0), fc.nat(20)))
    .map(([begin, parts, cut]) => {
      const whole = begin + parts.join('');
      return whole.slice(0, whole.length - cut);
    });
}
