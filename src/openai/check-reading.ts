/** @file Requests for embeddings and reranking: what is wrong with them is an ApiError that names the field. */
import type { EmbedInput } from '../chat/types.ts';
import { type KnownModel, readBody, readPrompts, refuseFields } from './check.ts';
import { booleanField, isRecord, listField, numberField, refuse, shown, textField, wrong } from './fields.ts';

/** The same as OpenAI's. */
const MAX_INPUTS = 2048;

export interface EmbeddingPlan {
  input: EmbedInput;
  dimensions: number | undefined;
  isBase64: boolean;
  anyModel: boolean | undefined;
}

export interface RerankPlan {
  query: string;
  documents: string[];
  instruction: string | undefined;
  /** The best so many. */
  topN: number;
  hasDocuments: boolean;
  anyModel: boolean | undefined;
}

const TRUNCATION = { truncate_prompt_tokens: 'Nothing is cut off here: shorten the texts.' };

/** @throws ApiError 400, or 404 for another model */
export function checkEmbedding(request: unknown, model: KnownModel): EmbeddingPlan {
  const body = readBody(request, model);
  refuseFields(body, {
    ...TRUNCATION,
    instruction: 'Write it before the text: "Instruct: ...\\nQuery:...".',
  });
  const input = readPrompts(body.input, model, 'input');
  if (input.length > MAX_INPUTS) tooMany('input', input.length);
  const format = textField(body, 'encoding_format') ?? 'float';
  if (format !== 'float' && format !== 'base64') wrong('encoding_format', format, '"float" or "base64"');
  return {
    // One or the other: a list of both is not asked for.
    input: input as EmbedInput,
    dimensions: numberField(body, 'dimensions', { min: 1, max: 2 ** 31, isInteger: true }),
    isBase64: format === 'base64',
    anyModel: booleanField(body, 'any_model'),
  };
}

/** @throws ApiError 400, or 404 for another model */
export function checkRerank(request: unknown, model: KnownModel): RerankPlan {
  const body = readBody(request, model);
  refuseFields(body, TRUNCATION);
  const query = textField(body, 'query');
  if (!query) wrong('query', body.query, 'a text that is not empty');
  const given = listField(body, 'documents', 'a list of texts') ?? [];
  if (given.length === 0) wrong('documents', body.documents, 'a list of texts that is not empty');
  if (given.length > MAX_INPUTS) tooMany('documents', given.length);
  const documents = given.map((document, i) => {
    const text = isRecord(document) ? document.text : document;
    return typeof text === 'string'
      ? text
      : refuse(`documents[${i}]`, `documents[${i}] is ${shown(document)}, wanted a text or { "text": ... }.`);
  });
  return {
    query,
    documents,
    instruction: textField(body, 'instruction'),
    // vLLM's 0 means all.
    topN: numberField(body, 'top_n', { min: 0, max: 2 ** 31, isInteger: true }) || Number.POSITIVE_INFINITY,
    hasDocuments: booleanField(body, 'return_documents') ?? false,
    anyModel: booleanField(body, 'any_model'),
  };
}

function tooMany(param: string, count: number): never {
  refuse(param, `${param} has ${count} texts, wanted at most ${MAX_INPUTS}. Ask in parts.`);
}
