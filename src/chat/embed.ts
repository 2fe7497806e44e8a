/** @file Texts to vectors. Loaded when somebody asks. The prompt: README of QwenLM/Qwen3-Embedding. */
import { InvalidInputError } from '../errors.ts';
import { expectPurpose, type PromptReader, readPrompts } from './read-prompts.ts';
import type { EmbedInput, EmbedOptions, EmbedResult } from './types.ts';

/** A vector is the final norm at the last token: which is the one that the tokenizer puts behind a text, if it does. */
export async function embed(
  reader: PromptReader,
  input: EmbedInput,
  { instruction, dimensions, anyModel, signal }: EmbedOptions,
): Promise<EmbedResult> {
  const { tokenizer, hiddenSize, source } = reader;
  const texts = listOf(input);
  if (
    dimensions !== undefined &&
    !(Number.isSafeInteger(dimensions) && dimensions >= 1 && dimensions <= hiddenSize)
  ) {
    throw new InvalidInputError(`dimensions is ${dimensions}, wanted an integer from 1 to ${hiddenSize}`);
  }
  if (instruction !== undefined && texts.some((text) => typeof text !== 'string')) {
    throw new InvalidInputError('instruction is given with token ids, and only goes with texts');
  }
  await expectPurpose(source, 'embed', anyModel);
  const questions = texts.map((text) => {
    const ids =
      typeof text === 'string'
        ? tokenizer.encode(instruction === undefined ? text : `Instruct: ${instruction}\nQuery:${text}`)
        : text;
    const rows = [{ position: ids.length - 1, token: 0 }];
    return { ids: Array.from(ids), reading: { name: 'hidden' as const, rows, numTop: 0 } };
  });
  const { values, usage } = await readPrompts(reader, questions, 'Text', signal);
  return { embeddings: values.map(([hidden]) => normalised(hidden as Float32Array, dimensions)), usage };
}

/** Cut before its length is made 1, as models are trained to bear it (Matryoshka representation learning). */
function normalised(hidden: Float32Array, dimensions = hidden.length): Float32Array {
  const cut = hidden.slice(0, dimensions);
  const length = Math.sqrt(cut.reduce((sum, x) => sum + x * x, 0));
  return length > 0 ? cut.map((x) => x / length) : cut;
}

function listOf(input: EmbedInput): readonly (string | ArrayLike<number>)[] {
  if (typeof input === 'string') return [input];
  const isIds = (value: unknown): value is ArrayLike<number> =>
    typeof value === 'object' && value !== null && typeof (value as ArrayLike<unknown>)[0] === 'number';
  if (isIds(input)) return [input];
  if (Array.isArray(input) && input.length > 0 && input.every((t) => typeof t === 'string' || isIds(t))) {
    return input;
  }
  throw new InvalidInputError(
    'There is nothing to embed: wanted a text, token ids, or a list of one of them, none of the ids empty',
  );
}
