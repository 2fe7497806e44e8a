/**
 * @file Holds an answer to a form. A format holds for everything the model says, but not for its thinking or its tool calls; a call
 * is held from its opening tag to its end. Loaded with the first answer that is held. Knows tokens and where thinking ends.
 */
import type { Tokenizer } from '../../tokenizer/index.ts';
import { type Constraint, compileConstraint, type Vocabulary, vocabularyOf } from '../constrain/index.ts';
import { InvalidInputError } from '../errors.ts';
import { callParts } from './call-parts.ts';
import type { ReasoningStart } from './message-parser.ts';
import type { ReasoningFormat } from './reasoning-formats.ts';
import type { ToolFormat } from './tool-formats.ts';
import type { ChatOptions, ToolDefinition } from './types.ts';

export interface AnswerConstraint {
  /** Bits of the tokens that may come next; undefined: all may. */
  mask(): Uint32Array | undefined;
  /** Takes a token; `isReasoning`: the model still thinks after it. */
  accept(id: number, isReasoning: boolean): void;
  /** The answer is complete. */
  readonly isDone: boolean;
}

/** @throws InvalidInputError for a format or a strict schema that cannot be enforced, or a choice of tools that cannot be */
export type Constrainer = (options: ChatOptions, thinking: ReasoningStart) => AnswerConstraint;

export interface ConstrainedModel {
  tokenizer: Tokenizer;
  /** The number of bits in a mask. */
  vocabSize: number;
  stopTokens: readonly number[];
  reasoning: ReasoningFormat;
  /** How the model writes calls; undefined: it writes none. */
  toolFormat: ToolFormat | undefined;
}

export function createConstrainer({
  tokenizer,
  vocabSize,
  stopTokens,
  reasoning,
  toolFormat,
}: ConstrainedModel): Constrainer {
  const text = vocabularyOf(tokenizer, vocabSize, stopTokens);
  let calls: Vocabulary | undefined;
  const idsOf = (texts: readonly string[]): number[] =>
    texts.map((tag) => tokenizer.tokenToId(tag)).filter((id) => id !== undefined);
  const think = tokenizer.tokenToId(reasoning.open);
  const breaks = ['\n', '\n\n']
    .map((word) => tokenizer.encode(word))
    .filter((ids) => ids.length === 1)
    .map(([id]) => id!);

  /** An answer that is held to a form must not end while the model thinks. */
  const thought = new Uint32Array(Math.ceil(vocabSize / 32)).fill(0xffff_ffff);
  for (const id of stopTokens) thought[id >>> 5]! &= ~(1 << (id & 31));

  /** Only in calls are the tags text. */
  function callVocabulary({ kind }: ToolFormat): Vocabulary {
    const layout = JSON.stringify(callParts(kind, [{ type: 'function', function: { name: 'f' } }]));
    const tags = new Map(
      tokenizer.addedTokens
        .filter(({ content }) => layout.includes(content))
        .map(({ id, content }) => [id, new TextEncoder().encode(content)]),
    );
    return { ...text, bytesOf: (id) => tags.get(id) ?? text.bytesOf(id) };
  }

  function callsOf(which: 'one' | 'several', tools: readonly ToolDefinition[]): Constraint {
    if (toolFormat === undefined) {
      throw new InvalidInputError(
        'The chat template of this model knows no tool calls: leave out toolChoice and strict, or take a model that has them.',
      );
    }
    calls ??= callVocabulary(toolFormat);
    return compileConstraint({ type: 'parts', parts: callParts(toolFormat.kind, tools)[which] }, calls);
  }

  return ({ responseFormat, tools = [], toolChoice, parallelToolCalls = true }, thinking) => {
    if (toolChoice !== undefined) {
      const isChosen = ({ function: { name } }: ToolDefinition): boolean =>
        toolChoice === 'required' || name === toolChoice.name;
      const chosen = tools.filter(isChosen);
      if (chosen.length === 0) {
        throw new InvalidInputError(
          `toolChoice is ${JSON.stringify(toolChoice)}, wanted "required" or the name of a tool, and tools to choose from`,
        );
      }
      const content = callsOf(parallelToolCalls && toolChoice === 'required' ? 'several' : 'one', chosen);
      return constrainAnswer({ content }, thinking, { think, calls: [], breaks, thought });
    }
    const newCall = tools.some((tool) => tool.function.strict) ? callsOf('one', tools) : undefined;
    return constrainAnswer(
      {
        content: responseFormat && compileConstraint(responseFormat, text),
        newCall: newCall && (() => newCall.fork()),
      },
      thinking,
      { think, calls: tools.length > 0 && toolFormat ? idsOf(toolFormat.opens) : [], breaks, thought },
    );
  };
}

interface Held {
  /** What the answer is held to; undefined: nothing. */
  content?: Constraint;
  /** What a call is held to. */
  newCall?: () => Constraint;
}

interface AnswerTokens {
  /** Opens a think block, where the model may begin with one. */
  think: number | undefined;
  /** Those that open a tool call. */
  calls: readonly number[];
  /** The line breaks between thinking and answer. */
  breaks: readonly number[];
  /** What may come while the model thinks. */
  thought: Uint32Array;
}

function constrainAnswer(
  { content, newCall }: Held,
  start: ReasoningStart,
  { think, calls, breaks, thought }: AnswerTokens,
): AnswerConstraint {
  // `behind`: after the thinking. `free`: after a tool call, or in one that is not held.
  let at: 'start' | 'thinking' | 'behind' | 'answer' | 'call' | 'free' =
    start === 'open' ? 'thinking' : start === 'ask' ? 'start' : 'answer';
  let isBegun = false;
  let call: Constraint | undefined;

  /** What may come in place of the answer's first token. */
  function openers(): readonly number[] {
    if (at === 'start') return think === undefined ? calls : [think, ...calls];
    if (at === 'behind') return [...breaks, ...calls];
    return isBegun ? [] : calls;
  }

  return {
    mask() {
      if (at === 'call') return call!.mask();
      if (at === 'free' || content === undefined) return undefined;
      if (at === 'thinking') return thought;
      const allowed = content.mask();
      const others = openers();
      if (others.length === 0) return allowed;
      const mask = allowed.slice();
      for (const id of others) mask[id >>> 5]! |= 1 << (id & 31);
      return mask;
    },
    accept(id, isReasoning) {
      const mayCall = content === undefined || !isBegun || at === 'free';
      if (at === 'thinking') {
        if (!isReasoning) at = 'behind';
      } else if (at === 'call') {
        call!.accept(id);
        if (call!.isDone) at = 'free';
      } else if (at === 'start' && id === think) {
        at = 'thinking';
      } else if (at === 'behind' && breaks.includes(id)) {
        at = 'answer';
      } else if (mayCall && calls.includes(id)) {
        call = newCall?.();
        call?.accept(id);
        at = call ? 'call' : 'free';
      } else if (at !== 'free') {
        at = 'answer';
        isBegun = true;
        content?.accept(id);
      }
    },
    get isDone() {
      return isBegun && content?.isDone === true;
    },
  };
}
