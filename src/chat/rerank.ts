/** @file How well documents answer a query. Loaded when somebody asks. Prompt and score: README of QwenLM/Qwen3-Embedding (Qwen3-Reranker). */
import { InvalidInputError, UnsupportedConfigError } from '../errors.ts';
import type { RowLogprob } from '../runtime/generate/session.ts';
import { expectPurpose, type PromptReader, type Question, readPrompts } from './read-prompts.ts';
import type { RerankOptions, RerankResult } from './types.ts';

const PREFIX =
  '<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and the Instruct provided. Note that the answer can only be "yes" or "no".<|im_end|>\n<|im_start|>user\n';
const SUFFIX = '<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n';
const INSTRUCTION = 'Given a web search query, retrieve relevant passages that answer the query';

export async function rerank(
  reader: PromptReader,
  query: string,
  documents: readonly string[],
  { instruction = INSTRUCTION, anyModel, signal }: RerankOptions,
): Promise<RerankResult> {
  const { tokenizer, source } = reader;
  const isText = (text: unknown): text is string => typeof text === 'string';
  if (!isText(query) || !Array.isArray(documents) || documents.length === 0 || !documents.every(isText)) {
    throw new InvalidInputError(
      'rerank wants a query, which is a text, and a list of documents, which are texts',
    );
  }
  const [yes, no] = ['yes', 'no'].map((word) => tokenizer.tokenToId(word));
  if (yes === undefined || no === undefined) {
    throw new UnsupportedConfigError(
      'tokenizer.json has no tokens "yes" and "no", between which a reranker decides',
    );
  }
  await expectPurpose(source, 'rerank', anyModel);
  // Each by itself: the borders are no place for tokens.
  const idsOf = (text: string): number[] => Array.from(tokenizer.encode(text, { addBos: false }));
  const [prefix, suffix] = [idsOf(PREFIX), idsOf(SUFFIX)];
  const questions = documents.map((document) => {
    const body = idsOf(`<Instruct>: ${instruction}\n<Query>: ${query}\n<Document>: ${document}`);
    return yesOrNo([...prefix, ...body, ...suffix], yes, no);
  });
  const { values, usage } = await readPrompts(reader, questions, 'The prompt of document', signal);
  const results = values.map((of, index) => ({ index, score: scoreOf(of as readonly RowLogprob[]) }));
  return { results: results.sort((a, b) => b.score - a.score || a.index - b.index), usage };
}

/** How likely each of two tokens is after a prompt. */
export function yesOrNo(ids: readonly number[], yes: number, no: number): Question {
  const position = ids.length - 1;
  return {
    ids,
    reading: { name: 'logprob', rows: [yes, no].map((token) => ({ position, token })), numTop: 0 },
  };
}

/** e^yes / (e^yes + e^no). */
export function scoreOf([yes, no]: readonly RowLogprob[]): number {
  return 1 / (1 + Math.exp(no!.logprob - yes!.logprob));
}
