/**
 * @file JSON as text: white space, strings, numbers, any value. Knows nothing of schemas.
 *
 * White space is what models and JSON.stringify write. It is bounded, since a model might otherwise write it forever: one space
 * after a colon; after a comma and inside brackets, one space, or one line end with an indentation. None at the ends.
 */
import {
  type CodeRange,
  call,
  characters,
  choice,
  complementRanges,
  EMPTY,
  type Expression,
  includesCode,
  oneOf,
  optional,
  type Rule,
  repeat,
  rule,
  sequence,
  subtractRanges,
  words,
} from './expression.ts';

const MANY = Number.POSITIVE_INFINITY;
const MAX_INDENTATION = 80;

export const SPACE = choice(
  EMPTY,
  words(' '),
  sequence(words('\n', '\r\n'), repeat(oneOf(' \t'), 0, MAX_INDENTATION)),
);
export const COLON = sequence(words(':'), optional(words(' ')));
export const COMMA = sequence(words(','), SPACE);

/** What JSON allows in a string only as an escape: control characters, the quote and the backslash. */
const ESCAPED: readonly CodeRange[] = [
  [0x00, 0x1f],
  [0x22, 0x22],
  [0x5c, 0x5c],
];
const PLAIN = characters(...complementRanges(ESCAPED));
const HEX = oneOf('0123456789abcdefABCDEF');

/** One character of a string, in any spelling; a pair of \u surrogates is one character, and half a pair is none. */
export const STRING_CHARACTER = choice(
  PLAIN,
  sequence(
    words('\\'),
    choice(
      oneOf('"\\/bfnrt'),
      sequence(
        words('u'),
        choice(
          sequence(oneOf('0123456789abcefABCEF'), HEX, HEX, HEX),
          sequence(oneOf('dD'), oneOf('01234567'), HEX, HEX),
          sequence(
            sequence(oneOf('dD'), oneOf('89abAB'), HEX, HEX),
            words('\\u'),
            sequence(oneOf('dD'), oneOf('cdefCDEF'), HEX, HEX),
          ),
        ),
      ),
    ),
  ),
);

/** What stands inside the quotes, for an expression over the characters of the string. */
export function insideQuotes(expression: Expression): Expression {
  switch (expression.kind) {
    case 'words':
      return words(...expression.words.map((word) => JSON.stringify(word).slice(1, -1)));
    case 'class': {
      const { ranges } = expression;
      const escapes: string[] = [];
      for (let code = 0; code <= 0x5c; code++) {
        if (!includesCode(ESCAPED, code) || !includesCode(ranges, code)) continue;
        escapes.push(JSON.stringify(String.fromCharCode(code)).slice(1, -1));
      }
      if (includesCode(ranges, 0x2f)) escapes.push('\\/');
      return choice({ kind: 'class', ranges: subtractRanges(ranges, ESCAPED) }, words(...escapes));
    }
    case 'sequence':
      return sequence(...expression.items.map(insideQuotes));
    case 'choice':
      return choice(...expression.items.map(insideQuotes));
    case 'repeat':
      return repeat(insideQuotes(expression.item), expression.min, expression.max);
    case 'call':
      return call(rule(expression.rule.name, insideQuotes(expression.rule.body)));
    case 'graph':
      return {
        ...expression,
        edges: expression.edges.map((edge) => ({ ...edge, item: insideQuotes(edge.item) })),
      };
    default:
      return expression satisfies never;
  }
}

/** A string with this inside. The inside is a rule, so that all its uses share their masks. */
export const quoted = (inside: Rule): Expression => sequence(words('"'), call(inside));

/** The inside of a string, with its closing quote. */
export const untilQuote = (name: string, inside: Expression): Rule =>
  rule(name, sequence(inside, words('"')));

const anyString = untilQuote('a string', repeat(STRING_CHARACTER, 0, MANY));
export const ANY_STRING = quoted(anyString);

const DIGIT = oneOf('0123456789');
const NONZERO = oneOf('123456789');
/** The most digits that JSON.stringify writes before and after the point; no double needs more. */
export const MAX_INTEGER_DIGITS = 21;
export const MAX_FRACTION_DIGITS = 24;

export const DIGITS_AFTER_POINT = repeat(DIGIT, 1, MAX_FRACTION_DIGITS);
const WHOLE = choice(words('0'), sequence(NONZERO, repeat(DIGIT, 0, MAX_INTEGER_DIGITS - 1)));
const FRACTION = sequence(words('.'), DIGITS_AFTER_POINT);

/** Exponents come after one digit, and stay below 1e308. */
const EXPONENT = sequence(
  oneOf('eE'),
  choice(
    sequence(
      optional(words('+')),
      choice(
        sequence(optional(words('0')), DIGIT),
        sequence(NONZERO, DIGIT),
        sequence(oneOf('12'), DIGIT, DIGIT),
        sequence(words('30'), oneOf('01234567')),
      ),
    ),
    sequence(
      words('-'),
      choice(sequence(optional(words('0')), DIGIT), sequence(NONZERO, repeat(DIGIT, 1, 2))),
    ),
  ),
);

/** The digits of Number.MAX_VALUE after its point. A slightly larger number would be read as infinity. */
const MAX_MANTISSA = '7976931348623157';

/** Digits from position `at` on, at most those of MAX_MANTISSA. */
function atMostMantissa(at: number): Expression {
  const digit = MAX_MANTISSA[at];
  if (digit === undefined) return EMPTY;
  const lower = sequence(
    oneOf('0123456789'.slice(0, Number(digit))),
    repeat(DIGIT, 0, MAX_FRACTION_DIGITS - at - 1),
  );
  const rest = choice(lower, sequence(words(digit), atMostMantissa(at + 1)));
  return at === 0 ? rest : optional(rest);
}

const LARGEST = sequence(
  words('1'),
  optional(sequence(words('.'), atMostMantissa(0))),
  words('e308', 'e+308', 'E308', 'E+308'),
);

export const ANY_INTEGER = sequence(optional(words('-')), WHOLE);
export const ANY_NUMBER = sequence(
  optional(words('-')),
  choice(sequence(WHOLE, optional(FRACTION)), sequence(NONZERO, optional(FRACTION), EXPONENT), LARGEST),
);

/** An array of items. The first is a part of its own because no comma comes before it. */
export function arrayOf(item: Expression, min: number, max: number): Expression {
  const none = sequence(words('['), SPACE, words(']'));
  if (max === 0) return none;
  const some = sequence(
    words('['),
    SPACE,
    item,
    repeat(sequence(COMMA, item), Math.max(min - 1, 0), max - 1),
    SPACE,
    words(']'),
  );
  return min === 0 ? choice(none, some) : some;
}

/** One member of an object, key and value. */
export interface Member {
  readonly text: Expression;
  readonly isRequired: boolean;
}

/** An object of these members in this order, then any number of others. */
export function objectOf(members: readonly Member[], further: Expression | undefined): Expression {
  const edges: { from: number; to: number; item: Expression }[] = [];
  const { length } = members;
  // Before member i: state i where none has been written, length + 1 + i where one has and a comma is due.
  const started = length + 1;
  const begin = members.findIndex(({ isRequired }) => isRequired);
  members.forEach(({ text, isRequired }, i) => {
    if (begin < 0 || i <= begin) {
      edges.push({ from: i, to: started + i + 1, item: text });
      if (!isRequired) edges.push({ from: i, to: i + 1, item: EMPTY });
    }
    edges.push({ from: started + i, to: started + i + 1, item: sequence(COMMA, text) });
    if (!isRequired) edges.push({ from: started + i, to: started + i + 1, item: EMPTY });
  });
  const end = started + length;
  if (further !== undefined) {
    if (begin < 0) edges.push({ from: length, to: end, item: further });
    edges.push({ from: end, to: end, item: sequence(COMMA, further) });
  }
  const last = end + 1;
  edges.push({ from: end, to: last, item: SPACE });
  const finals = begin < 0 ? [length, last] : [last];
  return sequence(words('{'), SPACE, { kind: 'graph', numStates: last + 1, edges, finals }, words('}'));
}

const anyValue = rule('any value', EMPTY);
export const ANY_VALUE = call(anyValue);
export const ANY_OBJECT = call(rule('any object', objectOf([], sequence(ANY_STRING, COLON, ANY_VALUE))));
anyValue.body = choice(
  ANY_OBJECT,
  call(rule('any array', arrayOf(ANY_VALUE, 0, MANY))),
  ANY_STRING,
  ANY_NUMBER,
  words('true', 'false', 'null'),
);
