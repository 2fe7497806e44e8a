/** @file What other rooms use of the tokenizer room. */
export type { AddedToken } from './added-tokens.ts';
export { ChatTemplate, type ChatTemplateSource, thinkState } from './chat-template.ts';
export { ChatTemplateError, TokenizerError } from './errors.ts';
export type { DecodeStream } from './stream.ts';
export { type DecodeOptions, type EncodeOptions, type SpecialMode, Tokenizer } from './tokenizer.ts';
