/** @file What went wrong while a request was answered, in the form of the OpenAI API. */
import { ChatTemplateError } from '../../tokenizer/index.ts';
import {
  ApiError,
  ContextLengthError,
  DeviceLostError,
  InvalidInputError,
  ModelStateError,
  UnsupportedConfigError,
} from '../errors.ts';

/** For error messages of the model that name the field of the request themselves. */
const NAMED = /^(?:messages|tools|dimensions)(?:\[\d+\])?(?:\.\w+|\[\d+\])*/;

/** What an answer that has ended too early throws: the signal's reason, if the signal ended it. */
export function stopped(signal: AbortSignal | undefined): unknown {
  if (signal?.aborted) return signal.reason;
  return new ApiError(503, 'The model was disposed of while it answered. Load it again.');
}

/**
 * @param params the fields that the prompt and the form of the answer came from
 * @returns the signal's reason if it is aborted, else an ApiError
 */
export function apiErrorOf(
  error: unknown,
  signal: AbortSignal | undefined,
  params: { text: string; held: string | null },
): unknown {
  if (signal?.aborted) return signal.reason;
  if (error instanceof ApiError) return error;
  const message = error instanceof Error ? error.message : String(error);
  if (error instanceof ContextLengthError) {
    return new ApiError(400, message, { param: params.text, code: 'context_length_exceeded' });
  }
  if (error instanceof ChatTemplateError) return new ApiError(400, message, { param: 'messages' });
  if (error instanceof UnsupportedConfigError) return new ApiError(400, message, { param: 'model' });
  if (error instanceof InvalidInputError) {
    const param = NAMED.exec(message)?.[0] ?? params.held;
    return new ApiError(400, message, { param, code: 'invalid_value' });
  }
  const isGone = error instanceof DeviceLostError || error instanceof ModelStateError;
  return new ApiError(isGone ? 503 : 500, message);
}

/** The body of an error's response. */
export function errorBody({ message, type, param, code }: ApiError): { error: object } {
  return { error: { message, type, param, code } };
}
