/**
 * @file The errors of the tokenizer room, which stands alone and therefore does not use src/errors.ts. Each message
 * names the field, what was found there and what is supported.
 */

/** A tokenizer.json or tokenizer_config.json that is malformed or uses something not implemented, or a wrong argument. */
export class TokenizerError extends Error {
  override name = 'TokenizerError';
}

/** A chat template that cannot be parsed or that throws, or messages that do not have the shape it needs. */
export class ChatTemplateError extends Error {
  override name = 'ChatTemplateError';
}
