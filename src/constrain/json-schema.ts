/**
 * @file JSON schemas to rules. Properties are written in the order of the schema, then required ones that it does not describe.
 * An object that lists properties and does not mention others has no others. schema-keywords.ts lists what is enforced.
 * Some values that a schema allows cannot be written here: integers with a point or exponent, numbers with limits and an
 * exponent, strings with lone surrogates, and \u escapes in strings that have a pattern, format, enum or length.
 */
import {
  type CodeRange,
  call,
  characters,
  choice,
  complementRanges,
  EMPTY,
  type Expression,
  type GraphEdge,
  NOTHING,
  type Rule,
  repeat,
  rule,
  sequence,
  words,
} from './expression.ts';
import { FORMATS } from './formats.ts';
import { intersect } from './intersect.ts';
import { numberText } from './json-number.ts';
import {
  ANY_STRING,
  ANY_VALUE,
  arrayOf,
  COLON,
  COMMA,
  insideQuotes,
  objectOf,
  quoted,
  SPACE,
  STRING_CHARACTER,
  untilQuote,
} from './json-text.ts';
import { ANY_CHARACTER, parseRegex } from './regex.ts';
import {
  constraintsOf,
  fail,
  isObject,
  KEYWORDS_OF_TYPE,
  merge,
  readCount,
  readList,
  resolveReference,
  type Schema,
  show,
} from './schema-keywords.ts';

const MAX_DEPTH = 100;
const MAX_COUNT = 1_000_000;
const TYPES = ['object', 'array', 'string', 'number', 'integer', 'boolean', 'null'] as const;
type Type = (typeof TYPES)[number];

const MANY = Number.POSITIVE_INFINITY;
const isType = (value: unknown): value is Type => TYPES.some((type) => type === value);

/**
 * @param isStrict unknown keywords and formats are errors; otherwise they are ignored
 * @throws InvalidInputError naming the path in the schema
 */
export function schemaRule(schema: unknown, isStrict: boolean): Rule {
  return new SchemaCompiler(schema, isStrict).ruleOf(schema, '#', 0);
}

class SchemaCompiler {
  private readonly root: unknown;
  private readonly isStrict: boolean;
  private readonly rules = new Map<object, Rule>();
  /** The insides of strings, by what limits them: equal ones share their masks. */
  private readonly strings = new Map<string, Expression>();

  constructor(root: unknown, isStrict: boolean) {
    this.root = root;
    this.isStrict = isStrict;
  }

  ruleOf(schema: unknown, path: string, depth: number): Rule {
    if (schema === true) return rule(path, ANY_VALUE);
    if (schema === false) return rule(path, NOTHING);
    if (!isObject(schema)) fail(path, `a schema must be an object, true or false, not ${show(schema)}.`);
    const known = this.rules.get(schema);
    if (known !== undefined) return known;
    const made = rule(path, EMPTY);
    this.rules.set(schema, made);
    made.body = this.value(schema, path, depth);
    return made;
  }

  private value(whole: Schema, path: string, depth: number): Expression {
    if (depth > MAX_DEPTH)
      fail(path, `it is nested deeper than ${MAX_DEPTH} levels. Use $ref for recursion.`);
    const schema = constraintsOf(whole, path, this.isStrict);
    const { $ref, allOf, anyOf, ...siblings } = schema;
    if ($ref !== undefined) return this.reference($ref, { ...schema, $ref: undefined }, path, depth);
    if (allOf !== undefined) {
      const parts = readList(schema, 'allOf', path);
      return this.all(parts, anyOf === undefined ? siblings : { ...siblings, anyOf }, path, depth);
    }
    if (anyOf !== undefined) {
      const branches = readList(schema, 'anyOf', path);
      return choice(
        ...branches.map((branch, i) => this.branch(branch, siblings, `${path}/anyOf/${i}`, depth)),
      );
    }
    if (schema.enum !== undefined || schema.const !== undefined) return this.constants(schema, path);
    const types = this.typesOf(schema, path);
    return types.length === 0
      ? ANY_VALUE
      : choice(...types.map((type) => this.typed(type, schema, path, depth)));
  }

  private reference(reference: unknown, rest: Schema, path: string, depth: number): Expression {
    const siblings = Object.fromEntries(Object.entries(rest).filter(([, value]) => value !== undefined));
    const target = resolveReference(this.root, reference, path);
    if (Object.keys(siblings).length === 0) return call(this.ruleOf(target, String(reference), depth + 1));
    return this.branch(target, siblings, path, depth);
  }

  private all(parts: readonly unknown[], siblings: Schema, path: string, depth: number): Expression {
    let merged = siblings;
    parts.forEach((part, i) => {
      let schema = part;
      for (let hops = 0; isObject(schema) && schema.$ref !== undefined; hops++) {
        if (hops > MAX_DEPTH) fail(path, 'a $ref leads back to itself.');
        const { $ref, ...others } = schema;
        const target = resolveReference(this.root, $ref, path);
        if (!isObject(target)) fail(path, `$ref ${show($ref)} in allOf leads to no object.`);
        schema = merge(target, constraintsOf(others, path, this.isStrict), path);
      }
      if (schema === true) return;
      if (!isObject(schema))
        fail(`${path}/allOf/${i}`, `a schema of allOf must be an object, not ${show(schema)}.`);
      merged = merge(merged, constraintsOf(schema, path, this.isStrict), path);
    });
    return this.value(merged, path, depth + 1);
  }

  private branch(branch: unknown, siblings: Schema, path: string, depth: number): Expression {
    if (Object.keys(siblings).length === 0 || !isObject(branch))
      return call(this.ruleOf(branch, path, depth + 1));
    return this.value(merge(constraintsOf(branch, path, this.isStrict), siblings, path), path, depth + 1);
  }

  private constants(schema: Schema, path: string): Expression {
    const { enum: _enum, const: constant, type, ...others } = schema;
    const other = Object.keys(others)[0];
    if (other !== undefined) {
      fail(
        path,
        `${other} beside enum or const cannot be enforced. Leave it out, and list only values that it allows.`,
      );
    }
    const types = type === undefined ? undefined : this.typesOf(schema, path);
    let values = schema.enum === undefined ? [constant] : readList(schema, 'enum', path);
    if (schema.enum !== undefined && constant !== undefined) {
      values = values.filter((value) => JSON.stringify(value) === JSON.stringify(constant));
    }
    values = values.filter((value) => types === undefined || types.some((name) => hasType(value, name)));
    if (values.length === 0) fail(path, 'no value of enum or const has the type that the schema asks for.');
    const isFlat = (value: unknown) => typeof value !== 'object' || value === null;
    return choice(
      words(...values.filter(isFlat).map((value) => JSON.stringify(value))),
      ...values.filter((value) => !isFlat(value)).map((value) => constantText(value, path, 0)),
    );
  }

  /** The types that the schema names, else those that its keywords are about; empty where there are neither. */
  private typesOf(schema: Schema, path: string): readonly Type[] {
    const { type } = schema;
    if (type === undefined) {
      const meant = Object.entries(KEYWORDS_OF_TYPE).filter(([, keywords]) =>
        keywords.some((keyword) => schema[keyword] !== undefined),
      );
      return meant.map(([name]) => name as Type);
    }
    const names = Array.isArray(type) ? readList(schema, 'type', path) : [type];
    for (const name of names) {
      if (!isType(name)) fail(path, `type is ${show(name)}; possible are ${TYPES.join(', ')}.`);
    }
    return names as Type[];
  }

  private typed(type: Type, schema: Schema, path: string, depth: number): Expression {
    switch (type) {
      case 'object':
        return this.object(schema, path, depth);
      case 'array':
        return this.array(schema, path, depth);
      case 'string':
        return this.string(schema, path);
      case 'number':
      case 'integer':
        return numberText(schema, path, type === 'integer');
      case 'boolean':
        return words('true', 'false');
      case 'null':
        return words('null');
      default:
        return type satisfies never;
    }
  }

  private object(schema: Schema, path: string, depth: number): Expression {
    const { properties = {}, required = [], additionalProperties } = schema;
    if (!isObject(properties)) fail(path, `properties is ${show(properties)}; it must be an object.`);
    if (!Array.isArray(required) || required.some((name) => typeof name !== 'string')) {
      fail(path, `required is ${show(required)}; it must be a list of names of properties.`);
    }
    const isOpen = additionalProperties ?? schema.properties === undefined;
    const further =
      isOpen === false ? undefined : this.ruleOf(isOpen, `${path}/additionalProperties`, depth + 1);
    const names = Object.keys(properties);
    const isRequired = new Set<string>(required);
    const members = [...new Set([...names, ...required])].map((name) => {
      const isListed = Object.hasOwn(properties, name);
      if (!isListed && further === undefined) {
        fail(
          path,
          `the property ${show(name)} is required, but properties does not have it and there can be no others. Add it to properties.`,
        );
      }
      const value = isListed
        ? this.ruleOf(properties[name], `${path}/properties/${name}`, depth + 1)
        : further!;
      return {
        text: sequence(words(JSON.stringify(name)), COLON, call(value)),
        isRequired: isRequired.has(name),
      };
    });
    const key = () => quoted(untilQuote(`${path}/additionalProperties`, otherThan([...names, ...required])));
    return call(
      rule(
        path,
        objectOf(
          members,
          further && sequence(members.length === 0 ? ANY_STRING : key(), COLON, call(further)),
        ),
      ),
    );
  }

  private array(schema: Schema, path: string, depth: number): Expression {
    if (Array.isArray(schema.items)) {
      fail(path, 'a list of items cannot be enforced. Use an object with a property for each item.');
    }
    const min = readCount(schema, 'minItems', path, 0);
    const max = readCount(schema, 'maxItems', path, MANY);
    if (min > max) fail(path, `minItems ${min} is more than maxItems ${max}.`);
    if (min > MAX_COUNT || (max > MAX_COUNT && max !== MANY)) {
      fail(path, `minItems and maxItems can be at most ${MAX_COUNT}.`);
    }
    const item = call(this.ruleOf(schema.items ?? true, `${path}/items`, depth + 1));
    return call(rule(path, arrayOf(item, min, max)));
  }

  private string(schema: Schema, path: string): Expression {
    const min = readCount(schema, 'minLength', path, 0);
    const max = readCount(schema, 'maxLength', path, MANY);
    if (min > max) fail(path, `minLength ${min} is more than maxLength ${max}.`);
    if (min > MAX_COUNT || (max > MAX_COUNT && max !== MANY)) {
      fail(path, `minLength and maxLength can be at most ${MAX_COUNT}.`);
    }
    const { pattern, format } = schema;
    if (pattern !== undefined && typeof pattern !== 'string')
      fail(path, `pattern is ${show(pattern)}; it must be a string.`);
    const key = JSON.stringify([min, max, pattern, format]);
    const known = this.strings.get(key);
    if (known !== undefined) return known;
    const parts: Expression[] = [];
    if (pattern !== undefined)
      parts.push(parseRegex(pattern, `The JSON schema at ${path}, pattern`, 'search'));
    if (format !== undefined) {
      const regex = Object.hasOwn(FORMATS, String(format)) ? FORMATS[String(format)] : undefined;
      if (regex !== undefined) parts.push(parseRegex(regex, path, 'whole'));
      else if (this.isStrict) {
        fail(path, `the format ${show(format)} is unknown; possible are ${Object.keys(FORMATS).join(', ')}.`);
      }
    }
    let made: Expression;
    if (parts.length === 0) {
      made =
        min === 0 && max === MANY ? ANY_STRING : quoted(untilQuote(path, repeat(STRING_CHARACTER, min, max)));
    } else {
      if (min > 0 || max !== MANY) parts.push(repeat(ANY_CHARACTER, min, max));
      made = quoted(
        untilQuote(path, insideQuotes(parts.reduce((a, b) => intersect(a, b, `The JSON schema at ${path}`)))),
      );
    }
    this.strings.set(key, made);
    return made;
  }
}

function hasType(value: unknown, type: Type): boolean {
  switch (type) {
    case 'object':
      return isObject(value);
    case 'array':
      return Array.isArray(value);
    case 'integer':
      return Number.isInteger(value);
    case 'null':
      return value === null;
    default:
      return typeof value === type;
  }
}

/** A constant as text, with the white space that models write. */
function constantText(value: unknown, path: string, depth: number): Expression {
  if (depth > MAX_DEPTH) fail(path, `a constant is nested deeper than ${MAX_DEPTH} levels.`);
  if (typeof value !== 'object' || value === null) return words(JSON.stringify(value));
  const isList = Array.isArray(value);
  const items = isList
    ? value.map((item) => constantText(item, path, depth + 1))
    : Object.entries(value).map(([key, item]) =>
        sequence(words(JSON.stringify(key)), COLON, constantText(item, path, depth + 1)),
      );
  const [first, ...rest] = items;
  const inside =
    first === undefined ? SPACE : sequence(SPACE, first, ...rest.map((item) => sequence(COMMA, item)), SPACE);
  return sequence(words(isList ? '[' : '{'), inside, words(isList ? ']' : '}'));
}

/** The inside of a string without escapes that is not one of these names. */
function otherThan(names: readonly string[]): Expression {
  const children: Map<number, number>[] = [new Map()];
  const isName = [false];
  for (const name of names) {
    if (JSON.stringify(name).length !== name.length + 2) continue;
    let state = 0;
    for (const char of name) {
      const code = char.codePointAt(0)!;
      let next = children[state]!.get(code);
      if (next === undefined) {
        next = children.push(new Map()) - 1;
        isName.push(false);
        children[state]!.set(code, next);
      }
      state = next;
    }
    isName[state] = true;
  }
  const free = children.length;
  const notPlain: CodeRange[] = [
    [0x00, 0x1f],
    [0x22, 0x22],
    [0x5c, 0x5c],
  ];
  const except = (codes: Iterable<number>) =>
    characters(...complementRanges([...notPlain, ...[...codes].map((code): CodeRange => [code, code])]));
  const edges: GraphEdge[] = [{ from: free, to: free, item: except([]) }];
  children.forEach((next, from) => {
    edges.push({ from, to: free, item: except(next.keys()) });
    for (const [code, to] of next) edges.push({ from, to, item: characters([code, code]) });
  });
  const finals = [free, ...children.keys()].filter((state) => !isName[state]);
  return { kind: 'graph', numStates: free + 1, edges, finals };
}
