/** @file Schemas of numbers to expressions: limits and multiples. It must not know other types. */
import { EMPTY, type Expression, type GraphEdge, oneOf, optional, sequence, words } from './expression.ts';
import { intersect } from './intersect.ts';
import { ANY_INTEGER, ANY_NUMBER } from './json-text.ts';
import { integersBetween, type Limits, numbersBetween } from './number-range.ts';
import { fail, readNumber, type Schema } from './schema-keywords.ts';

const MAX_MULTIPLE = 500;
/** Multiples with more digits are not exact as doubles. */
const MAX_MULTIPLE_SIZE = 999_999_999_999_999;

/** The numbers that a schema allows, as text. @throws InvalidInputError naming the path */
export function numberText(schema: Schema, path: string, isInteger: boolean): Expression {
  const read = (key: string) => readNumber(schema, key, path);
  const [minimum, maximum] = [read('minimum'), read('maximum')];
  const [exclusiveMinimum, exclusiveMaximum] = [read('exclusiveMinimum'), read('exclusiveMaximum')];
  const isMinExcluded =
    exclusiveMinimum !== undefined && exclusiveMinimum >= (minimum ?? -Number.POSITIVE_INFINITY);
  const isMaxExcluded =
    exclusiveMaximum !== undefined && exclusiveMaximum <= (maximum ?? Number.POSITIVE_INFINITY);
  const limits: Limits = {
    min: isMinExcluded ? exclusiveMinimum : minimum,
    max: isMaxExcluded ? exclusiveMaximum : maximum,
    isMinExcluded,
    isMaxExcluded,
  };
  const hasLimits = limits.min !== undefined || limits.max !== undefined;
  const multiple = read('multipleOf');
  if (multiple === undefined || (multiple === 1 && isInteger)) {
    if (isInteger) return hasLimits ? integersBetween(limits) : ANY_INTEGER;
    return hasLimits ? numbersBetween(limits) : ANY_NUMBER;
  }
  if (!Number.isInteger(multiple) || multiple < 1 || multiple > MAX_MULTIPLE) {
    fail(
      path,
      `multipleOf is ${multiple}; integers from 1 to ${MAX_MULTIPLE} can be enforced. Leave it out, or describe it in the prompt.`,
    );
  }
  const within = integersBetween({
    ...limits,
    min: Math.max(limits.min ?? -Number.POSITIVE_INFINITY, -MAX_MULTIPLE_SIZE),
    max: Math.min(limits.max ?? Number.POSITIVE_INFINITY, MAX_MULTIPLE_SIZE),
  });
  return intersect(within, multiplesOf(multiple), `The JSON schema at ${path}`);
}

/** State 1 + r: the digits so far have the remainder r. */
function multiplesOf(multiple: number): Expression {
  const edges: GraphEdge[] = [];
  for (let remainder = 0; remainder < multiple; remainder++) {
    for (let digit = 0; digit < 10; digit++) {
      const to = 1 + ((remainder * 10 + digit) % multiple);
      edges.push({ from: 1 + remainder, to, item: oneOf(`${digit}`) });
    }
  }
  edges.push({ from: 0, to: 1, item: EMPTY });
  const digits: Expression = { kind: 'graph', numStates: multiple + 1, edges, finals: [1] };
  return sequence(optional(words('-')), digits);
}
