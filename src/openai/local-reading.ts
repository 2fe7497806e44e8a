/** @file Answers requests for embeddings and reranking with a model of this thread. Loaded with the first one. Knows no HTTP. */
import type { Model } from '../chat/types.ts';
import { apiErrorOf } from './api-error.ts';
import type { KnownModel } from './check.ts';
import { checkEmbedding, checkRerank } from './check-reading.ts';
import type { EmbeddingResponse, RerankResponse } from './types.ts';

export async function embeddings(
  model: Model,
  known: KnownModel,
  body: unknown,
  signal: AbortSignal | undefined,
): Promise<EmbeddingResponse<number[] | string>> {
  const { input, dimensions, isBase64, anyModel } = checkEmbedding(body, known);
  try {
    const { embeddings, usage } = await model.embed(input, given({ dimensions, anyModel, signal }));
    return {
      object: 'list',
      data: embeddings.map((vector, index) => ({
        object: 'embedding',
        index,
        embedding: isBase64 ? base64Of(vector) : Array.from(vector),
      })),
      model: known.id,
      usage: { prompt_tokens: usage.promptTokens, total_tokens: usage.promptTokens },
    };
  } catch (error) {
    throw apiErrorOf(error, signal, { text: 'input', held: 'model' });
  }
}

export async function rerank(
  model: Model,
  known: KnownModel,
  body: unknown,
  signal: AbortSignal | undefined,
): Promise<RerankResponse> {
  const { query, documents, topN, hasDocuments, instruction, anyModel } = checkRerank(body, known);
  try {
    const options = given({ instruction, anyModel, signal });
    const { results, usage } = await model.rerank(query, documents, options);
    return {
      id: `rerank-${crypto.randomUUID().replaceAll('-', '')}`,
      model: known.id,
      results: results.slice(0, topN).map(({ index, score }) => ({
        index,
        relevance_score: score,
        ...(hasDocuments && { document: { text: documents[index]! } }),
      })),
      usage: { prompt_tokens: usage.promptTokens, total_tokens: usage.promptTokens },
    };
  } catch (error) {
    throw apiErrorOf(error, signal, { text: 'documents', held: 'model' });
  }
}

/** Without what is undefined. */
function given<T extends object>(options: T): { [K in keyof T]?: NonNullable<T[K]> } {
  const all = Object.entries(options).filter(([, value]) => value !== undefined);
  return Object.fromEntries(all) as { [K in keyof T]?: NonNullable<T[K]> };
}

/** The float32 of a vector, the low byte first. */
function base64Of(vector: Float32Array): string {
  const bytes = new DataView(new ArrayBuffer(4 * vector.length));
  vector.forEach((x, i) => {
    bytes.setFloat32(4 * i, x, true);
  });
  let text = '';
  for (let i = 0; i < bytes.byteLength; i++) text += String.fromCharCode(bytes.getUint8(i));
  return btoa(text);
}
