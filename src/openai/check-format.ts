/** @file The form that a request asks of the answer's content: `response_format`, and the names that other servers have for it. */
import type { ResponseFormat } from '../constrain/index.ts';
import { isRecord, type Json, recordField, refuse, wrong } from './fields.ts';

/** All fields that ask for a form of the content. */
export function readFormat(body: Json): { format: ResponseFormat | undefined; param: string | null } {
  const outputs = recordField(body, 'structured_outputs') ?? {};
  const all = [
    ['response_format', ownFormat(recordField(body, 'response_format'))],
    ...['json', 'regex', 'choice', 'grammar', 'json_object'].map((kind) => {
      const param = `structured_outputs.${kind}`;
      return [param, namedFormat(kind, outputs[kind], param)] as const;
    }),
    ...['json', 'regex', 'choice', 'grammar'].map((kind) => {
      const param = `guided_${kind}`;
      return [param, namedFormat(kind, body[param], param)] as const;
    }),
    ['grammar', namedFormat('grammar', body.grammar, 'grammar')],
  ] as const;
  const found = all.filter(([, format]) => format !== undefined);
  if (found.length > 1) {
    refuse(
      found[1]![0],
      `${found.map(([param]) => param).join(' and ')} are both given, wanted one of them.`,
    );
  }
  const [param = null, format] = found[0] ?? [];
  return { format, param };
}

function ownFormat(format: Json | undefined): ResponseFormat | undefined {
  switch (format?.type) {
    case undefined:
      if (format)
        wrong('response_format', format, 'a type: text, json_object, json_schema, regex or grammar');
      return undefined;
    case 'text':
      return undefined;
    case 'json_object':
      return { type: 'json_object' };
    case 'json_schema': {
      const { json_schema: options } = format;
      if (!isRecord(options)) {
        return wrong(
          'response_format.json_schema',
          options,
          'an object: { "name": "...", "schema": {...}, "strict": true }',
        );
      }
      const { schema, strict } = options;
      if (!isRecord(schema ?? {}))
        wrong('response_format.json_schema.schema', schema, 'a JSON schema, an object');
      if (typeof (strict ?? false) !== 'boolean')
        wrong('response_format.json_schema.strict', strict, 'true or false');
      return { type: 'json_schema', json_schema: { schema: schema ?? undefined, strict: strict === true } };
    }
    case 'regex':
      return namedFormat('regex', format.pattern ?? '', 'response_format.pattern');
    case 'grammar':
      return namedFormat('grammar', format.grammar ?? '', 'response_format.grammar');
    default:
      return wrong(
        'response_format.type',
        format?.type,
        'one of text, json_object, json_schema, regex, grammar',
      );
  }
}

function namedFormat(kind: string, value: unknown, param: string): ResponseFormat | undefined {
  if (value === undefined || value === null) return undefined;
  switch (kind) {
    case 'json': {
      const schema = typeof value === 'string' ? parsed(value, param) : value;
      if (!isRecord(schema)) wrong(param, value, 'a JSON schema, an object or its text');
      return { type: 'json_schema', json_schema: { schema } };
    }
    case 'json_object':
      if (typeof value !== 'boolean') wrong(param, value, 'true or false');
      return value ? { type: 'json_object' } : undefined;
    case 'choice': {
      const texts: readonly unknown[] = Array.isArray(value) ? value : [];
      if (texts.length === 0 || !texts.every((text) => typeof text === 'string' && text !== '')) {
        wrong(param, value, 'a list of texts, none of them empty');
      }
      return {
        type: 'grammar',
        grammar: `root ::= ${texts.map((text) => JSON.stringify(text)).join(' | ')}`,
      };
    }
    default:
      if (typeof value !== 'string' || value === '') wrong(param, value, `a ${kind} as text`);
      return kind === 'regex' ? { type: 'regex', pattern: value } : { type: 'grammar', grammar: value };
  }
}

function parsed(text: string, param: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return wrong(param, text, 'a JSON schema, an object or its text');
  }
}
