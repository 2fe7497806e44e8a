/**
 * @file Structured output: from the form that an app asks for to the tokens that may come next. Loaded when first needed
 * (`await import`). Knows nothing of models, samplers or GPUs.
 */
import type { Tokenizer } from '../../tokenizer/index.ts';
import { InvalidInputError } from '../errors.ts';
import { Automaton } from './automaton.ts';
import { buildNetwork } from './build-network.ts';
import { type Compiled, type Constraint, startConstraint } from './constraint.ts';
import { type Rule, rule } from './expression.ts';
import { parseGrammar } from './grammar.ts';
import { schemaRule } from './json-schema.ts';
import { ANY_OBJECT } from './json-text.ts';
import { Masks } from './masks.ts';
import { partExpression, type TextPart } from './parts.ts';
import { parseRegex } from './regex.ts';
import { buildTrie, type Trie, type Vocabulary } from './trie.ts';

export type { Constraint } from './constraint.ts';
export type { TextPart } from './parts.ts';
export type { Vocabulary } from './trie.ts';

export type ResponseFormat =
  | { readonly type: 'json_object' }
  | {
      readonly type: 'json_schema';
      readonly json_schema: {
        readonly name?: string;
        /** Absent: any JSON object. */
        readonly schema?: unknown;
        /** True: unknown keywords and formats are errors. Default: they are ignored, as JSON Schema says. */
        readonly strict?: boolean | null;
      };
    }
  /** The whole text matches. Written as in JavaScript with the flag `u`; see regex.ts for what is supported. */
  | { readonly type: 'regex'; readonly pattern: string }
  /** EBNF with the start rule `root`; see grammar.ts. */
  | { readonly type: 'grammar'; readonly grammar: string };

/** Only this library itself asks for this. */
export type PartsFormat = { readonly type: 'parts'; readonly parts: TextPart };

/** The number of grammars kept for a vocabulary, with their masks (at most some 20 MB each). */
const MAX_COMPILED = 8;

/** What is made once for a vocabulary. */
interface Known {
  readonly trie: Trie;
  readonly compiled: Map<string, Compiled>;
}

const knownVocabularies = new WeakMap<Vocabulary, Known>();

/**
 * The constraint at the beginning of a text. Constraints with the same format and vocabulary (the same object) share what
 * they have computed so far; the first call with a vocabulary takes a few hundred milliseconds for 150,000 tokens.
 * @throws InvalidInputError naming the path in the schema, the position in the pattern or the line of the grammar.
 */
export function compileConstraint(format: ResponseFormat | PartsFormat, vocabulary: Vocabulary): Constraint {
  const key = keyOf(format);
  let known = knownVocabularies.get(vocabulary);
  let compiled = known?.compiled.get(key);
  if (compiled === undefined) {
    const automaton = new Automaton(buildNetwork(ruleOf(format)));
    known ??= { trie: buildTrie(vocabulary), compiled: new Map() };
    knownVocabularies.set(vocabulary, known);
    compiled = {
      automaton,
      masks: new Masks(automaton, known.trie, vocabulary.size, vocabulary.stopTokens),
      vocabulary,
      stopTokens: new Set(vocabulary.stopTokens),
    };
  }
  const { compiled: kept } = known!;
  // The least recently used is the first.
  kept.delete(key);
  kept.set(key, compiled);
  if (kept.size > MAX_COMPILED) kept.delete(kept.keys().next().value!);
  return startConstraint(compiled);
}

/**
 * The vocabulary of a tokenizer.
 * @param size bits in a mask: the rows of the model's logits, often more than the tokenizer has tokens
 * @param stopTokens ids that end an answer
 */
export function vocabularyOf(tokenizer: Tokenizer, size: number, stopTokens: readonly number[]): Vocabulary {
  return { size, stopTokens, bytesOf: (id) => tokenizer.bytesOf(id) };
}

function keyOf(format: ResponseFormat | PartsFormat): string {
  try {
    return JSON.stringify(format);
  } catch {
    throw new InvalidInputError(
      'response_format cannot be written as JSON: it is cyclic, too deeply nested, or holds a BigInt.',
    );
  }
}

function ruleOf(format: ResponseFormat | PartsFormat): Rule {
  switch (format?.type) {
    case 'json_object':
      return rule('a JSON object', ANY_OBJECT);
    case 'json_schema': {
      const { json_schema: options } = format;
      if (typeof options !== 'object' || options === null) {
        throw new InvalidInputError(
          'response_format.json_schema must be an object { name, schema, strict }.',
        );
      }
      if (options.schema === undefined) return rule('a JSON object', ANY_OBJECT);
      return schemaRule(options.schema, options.strict === true);
    }
    case 'regex':
      return rule('the pattern', parseRegex(format.pattern, 'pattern', 'whole'));
    case 'grammar':
      return parseGrammar(format.grammar);
    case 'parts':
      return rule('the parts', partExpression(format.parts));
    default:
      throw new InvalidInputError(
        `response_format.type is ${JSON.stringify((format as { type?: unknown } | undefined)?.type)}; possible are json_object, json_schema, regex and grammar.`,
      );
  }
}
