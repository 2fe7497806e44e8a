/**
 * @file Texts made of fixed words and JSON, such as tool calls. Knows no format of tool calls.
 */
import { InvalidInputError } from '../errors.ts';
import { call, choice, type Expression, repeat, sequence, words } from './expression.ts';
import { schemaRule } from './json-schema.ts';
import { ANY_OBJECT } from './json-text.ts';
import { parseRegex } from './regex.ts';

export type TextPart =
  /** This text. */
  | string
  /**
   * JSON of a schema; any object where there is none. If a schema cannot be enforced, that is an error; if it is not strict, any
   * object is allowed instead. `where` names it in error messages.
   */
  | { readonly schema: unknown; readonly isStrict: boolean; readonly where: string }
  | { readonly pattern: string }
  /** One after the other. */
  | { readonly all: readonly TextPart[] }
  | { readonly any: readonly TextPart[] }
  /** None, one or several. */
  | { readonly many: TextPart };

/** @throws InvalidInputError for a strict schema that cannot be enforced */
export function partExpression(part: TextPart): Expression {
  if (typeof part === 'string') return words(part);
  if ('pattern' in part) return parseRegex(part.pattern, 'pattern', 'whole');
  if ('all' in part) return sequence(...part.all.map(partExpression));
  if ('any' in part) return choice(...part.any.map(partExpression));
  if ('many' in part) return repeat(partExpression(part.many), 0, Number.POSITIVE_INFINITY);
  const { schema, isStrict, where } = part;
  if (schema === undefined) return ANY_OBJECT;
  try {
    return call(schemaRule(schema, isStrict));
  } catch (error) {
    if (!(error instanceof InvalidInputError)) throw error;
    if (!isStrict) return ANY_OBJECT;
    throw new InvalidInputError(`${where}: ${error.message}`);
  }
}
