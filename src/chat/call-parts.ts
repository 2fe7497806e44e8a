/**
 * @file How tool calls must be written: the texts that tool-formats.ts reads, for the given functions. Loaded when a call
 * is forced or held to its schema. Knows no tokens.
 */
import type { TextPart } from '../constrain/index.ts';
import { type ToolFormat, typesOf } from './tool-formats.ts';
import type { ToolDefinition } from './types.ts';

export interface CallParts {
  /** One call, as it may stand anywhere in an answer. */
  one: TextPart;
  /** An answer of calls and nothing else. */
  several: TextPart;
}

/** @param tools each with its place in the request, for error messages */
export function callParts(format: ToolFormat['kind'], tools: readonly ToolDefinition[]): CallParts {
  const calls = (write: (tool: ToolDefinition, args: Arguments) => TextPart[]): TextPart => ({
    any: tools.map((tool, i) => ({ all: write(tool, argumentsOf(tool, i)) })),
  });
  switch (format) {
    case 'hermes': {
      const one = calls(({ function: { name } }, args) => [
        `<tool_call>\n{"name": ${JSON.stringify(name)}, "arguments": `,
        args,
        '}\n</tool_call>',
      ]);
      return { one, several: { all: [one, { many: { all: ['\n', one] } }] } };
    }
    case 'qwenCoder': {
      const one = calls(({ function: { name, parameters, strict } }, { where }) => [
        `<tool_call>\n<function=${name}>\n`,
        ...(strict ? parametersOf(parameters, where) : [ANY_PARAMETERS]),
        '</function>\n</tool_call>',
      ]);
      return { one, several: { all: [one, { many: { all: ['\n', one] } }] } };
    }
    case 'deepseek':
    case 'deepseekFenced': {
      const fence = '```';
      const call = calls(({ function: { name } }, args) =>
        format === 'deepseek'
          ? [`<｜tool▁call▁begin｜>${name}<｜tool▁sep｜>`, args, '<｜tool▁call▁end｜>']
          : [
              `<｜tool▁call▁begin｜>function<｜tool▁sep｜>${name}\n${fence}json\n`,
              args,
              `\n${fence}<｜tool▁call▁end｜>`,
            ],
      );
      const begin = '<｜tool▁calls▁begin｜>';
      const further: TextPart = { many: { all: [{ any: ['', '\n'] }, call] } };
      return {
        one: { all: [{ any: ['', begin] }, call] },
        several: { all: [begin, call, further, '<｜tool▁calls▁end｜>'] },
      };
    }
    default:
      return format satisfies never;
  }
}

type Arguments = Extract<TextPart, { where: string }>;

function argumentsOf({ function: { parameters, strict = false } }: ToolDefinition, i: number): Arguments {
  const schema =
    parameters && (Object.hasOwn(parameters, 'type') ? parameters : { type: 'object', ...parameters });
  return { schema, isStrict: strict, where: `tools[${i}].function.parameters` };
}

/** Text in which no tag begins that could end a parameter. */
const VALUE: TextPart = { pattern: '([^<]|<+([^<\\/pf]|\\/[^<pf]))*' };
const ANY_PARAMETERS: TextPart = {
  many: { all: ['<parameter=', { pattern: '[^<>\\n]+' }, '>\n', VALUE, '\n</parameter>\n'] },
};

/** The parameters of a schema in its order: as plain text where possible, else as JSON. */
function parametersOf(parameters: ToolDefinition['function']['parameters'] = {}, where: string): TextPart[] {
  const { properties, required, $defs, definitions } = parameters;
  const needed = Array.isArray(required) ? required : [];
  const schemas = typeof properties === 'object' ? Object.entries(properties ?? {}) : [];
  return schemas.map(([name, schema]: [string, unknown]) => {
    const value = textOf(schema) ?? {
      schema: { $defs, definitions, ...(schema as object) },
      isStrict: true,
      where: `${where}.properties.${name}`,
    };
    const written: TextPart = { all: [`<parameter=${name}>\n`, value, '\n</parameter>\n'] };
    return needed.includes(name) ? written : { any: ['', written] };
  });
}

/** What the reader takes as text, also with several types; undefined for what must be JSON. For strings only an enum is enforced. */
function textOf(schema: unknown): TextPart | undefined {
  const types = typesOf(schema);
  const values: unknown = (schema as { enum?: unknown } | null)?.enum;
  const isTexts = Array.isArray(values) && values.every((value) => typeof value === 'string');
  if (isTexts && values.length > 0) return { any: values };
  return types.length === 0 || types.includes('string') ? VALUE : undefined;
}
