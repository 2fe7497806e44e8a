/**
 * @file How models write tool calls: a grammar for each format. It reads the text as it comes, and gives the arguments out as pieces
 * of JSON. Which format a model writes is found in its chat template. Knows no messages and no tokens.
 *
 * The formats are Hermes (Qwen2.5, Qwen3), the XML of Qwen3-Coder, DeepSeek-V3 and V3.1, as their templates write them and as vLLM
 * and SGLang read them. Unlike in those servers, a tag inside a JSON string is text, and a call that ends too early is not a call:
 * half an argument must not reach a function.
 */
import { Mismatch, type Reader, type Reading } from './reader.ts';
import type { ToolDefinition } from './types.ts';

/** Receives a call as it is read. */
export interface CallSink {
  start(name: string): void;
  /** A piece of the arguments; joined they are a JSON object. */
  give(text: string): void;
}

export interface ToolFormat {
  /** Its name in call-parts.ts. */
  readonly kind: 'hermes' | 'qwenCoder' | 'deepseek' | 'deepseekFenced';
  /** The tags that begin a call. */
  readonly opens: readonly string[];
  /** A tag that may follow the last call. */
  readonly close?: string;
  /** Reads a call from its tag on. @throws Mismatch if the text is not a call */
  readonly call: (reader: Reader, sink: CallSink, tools: readonly ToolDefinition[]) => Reading;
}

const CALLS_BEGIN = '<｜tool▁calls▁begin｜>';
const CALL_BEGIN = '<｜tool▁call▁begin｜>';
const SEPARATOR = '<｜tool▁sep｜>';
const CALL_END = '<｜tool▁call▁end｜>';
const FENCE = '```';

const NAME_END = /[\s<>{}"'`]/;

/** `<tool_call>{"name": ..., "arguments": {...}}</tool_call>`; the closing tag may be missing at the end. */
const hermes: ToolFormat = {
  kind: 'hermes',
  opens: ['<tool_call>'],
  *call(reader, sink) {
    yield* reader.expect('<tool_call>');
    yield* space(reader);
    const begin = reader.taken.length;
    const keys = new Set<string>();
    let hasName = false;
    let early = '';
    yield* reader.expect('{');
    do {
      yield* space(reader);
      const key = yield* jsonText(reader);
      // A second name or second arguments: the first were given out already.
      if (keys.has(key)) throw new Mismatch();
      keys.add(key);
      yield* space(reader);
      yield* reader.expect(':');
      yield* space(reader);
      if (key === 'name') {
        sink.start(yield* jsonText(reader));
        sink.give(early);
        hasName = true;
      } else if (key === 'arguments') {
        yield* jsonObject(reader, (text) => {
          if (hasName) sink.give(text);
          else early += text;
        });
      } else yield* jsonValue(reader, () => {});
      yield* space(reader);
    } while (yield* reader.accept(','));
    yield* reader.expect('}');
    parse(reader.taken.slice(begin));
    if (!hasName) throw new Mismatch();
    if (!keys.has('arguments')) sink.give('{}');
    yield* space(reader);
    yield* reader.expectOrEnd('</tool_call>');
  },
};

/**
 * `<tool_call><function=name><parameter=key>value</parameter>...</function></tool_call>`; models sometimes leave out the
 * outer tag, or the closing tag of a parameter.
 */
const qwenCoder: ToolFormat = {
  kind: 'qwenCoder',
  opens: ['<tool_call>', '<function='],
  close: '</tool_call>',
  *call(reader, sink, tools) {
    if (yield* reader.accept('<tool_call>')) yield* space(reader);
    yield* reader.expect('<function=');
    const name = yield* toolName(reader);
    yield* reader.expect('>');
    sink.start(name);
    const parameters = tools.find((tool) => tool.function.name === name)?.function.parameters;
    const schemas = isRecord(parameters?.properties) ? parameters.properties : {};
    for (let before = '{'; ; before = ', ') {
      yield* space(reader);
      if (yield* reader.accept('</function>')) {
        sink.give(before === '{' ? '{}' : '}');
        return;
      }
      yield* reader.expect('<parameter=');
      const key = yield* reader.upTo(/[<>\n]/);
      yield* reader.expect('>');
      sink.give(`${before}${JSON.stringify(key)}: `);
      yield* parameterValue(reader, Object.hasOwn(schemas, key) ? schemas[key] : undefined, sink);
    }
  },
};

const VALUE_ENDS = ['</parameter>', '<parameter=', '</function>'].flatMap((tag) => [`\n${tag}`, tag]);

function* parameterValue(reader: Reader, schema: unknown, { give }: CallSink): Reading {
  const types = typesOf(schema);
  const isText = types.every((type) => type === 'string');
  yield* reader.accept('\n');
  let value = '';
  if (isText) give('"');
  const end = yield* reader.until(VALUE_ENDS, (text) => {
    if (isText) give(JSON.stringify(text).slice(1, -1));
    else value += text;
  });
  if (end === undefined) throw new Mismatch();
  give(isText ? '"' : jsonOf(value, types));
  if (end.startsWith('\n')) yield* reader.expect('\n');
  yield* reader.accept('</parameter>');
}

/**
 * `<｜tool▁calls▁begin｜>`, for each call `<｜tool▁call▁begin｜>function<｜tool▁sep｜>name`, a fenced block of JSON and
 * `<｜tool▁call▁end｜>`, then `<｜tool▁calls▁end｜>`. V3.1 has no word `function` and no fence: the separator is between name and JSON.
 */
const deepseek = (isFenced: boolean): ToolFormat => ({
  kind: isFenced ? 'deepseekFenced' : 'deepseek',
  opens: [CALLS_BEGIN, CALL_BEGIN],
  close: '<｜tool▁calls▁end｜>',
  *call(reader, sink) {
    if (yield* reader.accept(CALLS_BEGIN)) yield* space(reader);
    yield* reader.expect(CALL_BEGIN);
    if (isFenced) {
      yield* reader.upTo(NAME_END);
      yield* reader.expect(SEPARATOR);
    }
    sink.start(yield* toolName(reader));
    if (isFenced) {
      yield* space(reader);
      yield* reader.expect(`${FENCE}json`);
    } else yield* reader.expect(SEPARATOR);
    yield* space(reader);
    yield* jsonObject(reader, sink.give);
    yield* space(reader);
    if (isFenced) {
      yield* reader.expectOrEnd(FENCE);
      yield* space(reader);
    }
    yield* reader.expectOrEnd(CALL_END);
  },
});

/** The format of a model with this chat template; undefined when the template has no tool calls. */
export function toolFormatOf(template: string): ToolFormat | undefined {
  if (template.includes(SEPARATOR)) return deepseek(template.includes(`${FENCE}json`));
  if (template.includes('<function=')) return qwenCoder;
  return template.includes('<tool_call>') ? hermes : undefined;
}

function* space(reader: Reader): Reading {
  yield* reader.upTo(/\S/);
}

function* toolName(reader: Reader): Reading<string> {
  const name = yield* reader.upTo(NAME_END);
  if (name === '') throw new Mismatch();
  return name;
}

function parse(json: string): unknown {
  try {
    return JSON.parse(json);
  } catch {
    throw new Mismatch();
  }
}

/** A JSON string that is not empty. */
function* jsonText(reader: Reader): Reading<string> {
  let json = '';
  if ((yield* reader.peek()) === '"') {
    yield* jsonValue(reader, (text) => {
      json += text;
    });
  }
  const text = parse(json);
  if (typeof text !== 'string' || text === '') throw new Mismatch();
  return text;
}

function* jsonObject(reader: Reader, give: (text: string) => void): Reading {
  if ((yield* reader.peek()) !== '{') throw new Mismatch();
  const begin = reader.taken.length;
  yield* jsonValue(reader, give);
  parse(reader.taken.slice(begin));
}

/** Finds the end of a JSON value. It does not check the inside: a parser does that afterwards. */
function* jsonValue(reader: Reader, give: (text: string) => void): Reading {
  let depth = 0;
  let isInString = false;
  let isEscaped = false;

  /** How many characters of the text belong to the value, and whether it ends after them. */
  function scan(text: string): { length: number; isDone: boolean } {
    for (let i = 0; i < text.length; i++) {
      const char = text.charAt(i);
      if (isInString) {
        // JSON strings cannot have it. The closing quote is missing: without this, the rest of the answer would be one string.
        if (char < ' ') {
          reader.take(i);
          throw new Mismatch();
        }
        if (isEscaped) isEscaped = false;
        else if (char === '\\') isEscaped = true;
        else if (char === '"') isInString = false;
      } else if (char === '"') isInString = true;
      else if (char === '{' || char === '[') depth++;
      else if (depth === 0) {
        // A number or a word ends before a character that cannot belong to it.
        if (/[\s,\]}]/.test(char)) return { length: i, isDone: true };
        continue;
      } else if (char === '}' || char === ']') depth--;
      if (depth === 0 && !isInString) return { length: i + 1, isDone: true };
    }
    return { length: text.length, isDone: false };
  }

  for (;;) {
    const { length, isDone } = scan(reader.held);
    const text = reader.take(length);
    if (text !== '') give(text);
    if (isDone) return;
    if (reader.isEnd) throw new Mismatch();
    yield;
  }
}

/** The JSON types that a schema names. */
export function typesOf(schema: unknown): string[] {
  if (!isRecord(schema)) return [];
  const { type, anyOf, oneOf, allOf, enum: values } = schema;
  const named = [type].flat().filter((name) => typeof name === 'string');
  if (named.length > 0) return named;
  if (Array.isArray(values)) return values.map((value) => (value === null ? 'null' : typeof value));
  // A schema that has its own definition is usually an object.
  if (schema.$ref !== undefined) return ['object'];
  return [anyOf, oneOf, allOf].flatMap((list) => (Array.isArray(list) ? list.flatMap(typesOf) : []));
}

/** The text of a parameter as JSON of the first type that it fits, else as a string. `null` fits every type but a string. */
function jsonOf(value: string, types: readonly string[]): string {
  const text = value.trim();
  const allows = (...names: string[]): boolean => names.some((name) => types.includes(name));
  if (/^(null|none)$/i.test(text)) return 'null';
  if (allows('boolean') && /^(true|false)$/i.test(text)) return text.toLowerCase();
  if (allows('integer', 'number') && /^[-+]?\d{1,300}$/.test(text)) return BigInt(text).toString();
  if (allows('integer', 'number') && /^[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?$/i.test(text)) {
    const number = Number(text);
    if (Number.isFinite(number) && (allows('number') || Number.isInteger(number)))
      return JSON.stringify(number);
  }
  if (allows('object', 'array') && /^[[{]/.test(text)) {
    try {
      JSON.parse(text);
      return text;
    } catch {
      // Not JSON: then a string, as in the servers.
    }
  }
  return JSON.stringify(value);
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
