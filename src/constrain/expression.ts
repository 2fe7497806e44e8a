/**
 * @file Schemas, regular expressions and grammars are all translated to this: expressions over text, and rules that may call
 * one another. Knows nothing of bytes, automata or tokens.
 */

/** Code points from `first` to `last`, both included. */
export type CodeRange = readonly [first: number, last: number];

/** A named expression. The body is set after the rule exists, so that rules can be recursive. */
export interface Rule {
  /** For error messages: a path in the schema, or the rule's name in the grammar. */
  readonly name: string;
  body: Expression;
}

export interface GraphEdge {
  readonly from: number;
  readonly to: number;
  readonly item: Expression;
}

export type Expression =
  /** One of these texts. */
  | { readonly kind: 'words'; readonly words: readonly string[] }
  /** One character. The ranges are sorted and apart. */
  | { readonly kind: 'class'; readonly ranges: readonly CodeRange[] }
  | { readonly kind: 'sequence'; readonly items: readonly Expression[] }
  | { readonly kind: 'choice'; readonly items: readonly Expression[] }
  | { readonly kind: 'repeat'; readonly item: Expression; readonly min: number; readonly max: number }
  | { readonly kind: 'call'; readonly rule: Rule }
  /** The texts of all paths from state 0 to one of `finals`. */
  | {
      readonly kind: 'graph';
      readonly numStates: number;
      readonly edges: readonly GraphEdge[];
      readonly finals: readonly number[];
    };

export const words = (...texts: readonly string[]): Expression => ({ kind: 'words', words: texts });
export const sequence = (...items: readonly Expression[]): Expression => ({ kind: 'sequence', items });
export const choice = (...items: readonly Expression[]): Expression => ({ kind: 'choice', items });
export const repeat = (item: Expression, min: number, max: number): Expression => ({
  kind: 'repeat',
  item,
  min,
  max,
});
export const optional = (item: Expression): Expression => repeat(item, 0, 1);
export const call = (rule: Rule): Expression => ({ kind: 'call', rule });
export const rule = (name: string, body: Expression): Rule => ({ name, body });

/** No text at all, not even the empty one. */
export const NOTHING: Expression = { kind: 'choice', items: [] };
export const EMPTY: Expression = { kind: 'sequence', items: [] };

const LAST_CODE_POINT = 0x10ffff;

/** A class of any ranges; surrogates, which UTF-8 cannot write, are left out. */
export function characters(...ranges: readonly CodeRange[]): Expression {
  return { kind: 'class', ranges: subtractRanges(ranges, [[0xd800, 0xdfff]]) };
}

/** A class of the characters of a text. */
export const oneOf = (text: string): Expression =>
  characters(...[...text].map((char): CodeRange => [char.codePointAt(0)!, char.codePointAt(0)!]));

/** Sorted, and without overlaps or neighbours. */
export function normalizeRanges(ranges: readonly CodeRange[]): CodeRange[] {
  const out: [number, number][] = [];
  for (const [first, last] of ranges.toSorted((a, b) => a[0] - b[0])) {
    const end = out.at(-1);
    if (end !== undefined && first <= end[1] + 1) end[1] = Math.max(end[1], last);
    else out.push([first, last]);
  }
  return out;
}

export function complementRanges(ranges: readonly CodeRange[]): CodeRange[] {
  const out: CodeRange[] = [];
  let next = 0;
  for (const [first, last] of normalizeRanges(ranges)) {
    if (next < first) out.push([next, first - 1]);
    next = last + 1;
  }
  if (next <= LAST_CODE_POINT) out.push([next, LAST_CODE_POINT]);
  return out;
}

/** The characters of `ranges` that are not in `removed`. */
export const subtractRanges = (ranges: readonly CodeRange[], removed: readonly CodeRange[]): CodeRange[] =>
  complementRanges([...complementRanges(ranges), ...removed]);

export const includesCode = (ranges: readonly CodeRange[], code: number): boolean =>
  ranges.some(([first, last]) => first <= code && code <= last);

const codeLength = (code: number): number => (code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4);

function utf8Length(text: string): number {
  let length = 0;
  for (const char of text) length += codeLength(char.codePointAt(0)!);
  return length;
}

/**
 * The most bytes that a text of the expression has; Infinity if there is no limit or finding it is not worth the time.
 * @param known lengths of rules found so far; a rule that is being measured counts as Infinity.
 */
export function maxBytes(expression: Expression, known: Map<Rule, number>): number {
  switch (expression.kind) {
    case 'words':
      return expression.words.reduce((length, word) => Math.max(length, utf8Length(word)), 0);
    case 'class':
      return codeLength(expression.ranges.at(-1)?.[1] ?? 0);
    case 'sequence':
      return expression.items.reduce((length, item) => length + maxBytes(item, known), 0);
    case 'choice':
      return expression.items.reduce((length, item) => Math.max(length, maxBytes(item, known)), 0);
    case 'repeat':
      return expression.max === 0 ? 0 : expression.max * (maxBytes(expression.item, known) || 1);
    case 'call': {
      const { rule } = expression;
      let length = known.get(rule);
      if (length === undefined) {
        known.set(rule, Number.POSITIVE_INFINITY);
        length = maxBytes(rule.body, known);
        known.set(rule, length);
      }
      return length;
    }
    case 'graph':
      return Number.POSITIVE_INFINITY;
    default:
      return expression satisfies never;
  }
}
