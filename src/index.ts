/** @file The public API of shaderloom: the only file that apps import. */
export { ChatTemplateError, type Tokenizer, TokenizerError } from '../tokenizer/index.ts';
export { loadModel } from './chat/model.ts';
export { type RunToolsOptions, type RunToolsResult, runTools, type Tool } from './chat/run-tools.ts';
export type {
  AssistantMessage,
  ChatDelta,
  ChatMessage,
  ChatOptions,
  ChatResult,
  ChatStream,
  GeneratedToken,
  GenerateResult,
  Model,
  TextChance,
  TokenLogprob,
  ToolCall,
  ToolCallDelta,
  ToolDefinition,
} from './chat/types.ts';
export type { ResponseFormat } from './constrain/index.ts';
export { checkFit } from './engine/check-fit.ts';
export { parseDebugFlags } from './engine/debug.ts';
export type { Inspected } from './engine/session.ts';
export * from './engine/types.ts';
export * from './errors.ts';
export {
  type ChatCompletions,
  createEngine,
  type Engine,
  type EngineOptions,
  engineOf,
  type ModelList,
  type RequestOptions,
  type TextCompletions,
} from './openai/engine.ts';
export type { CompletionStream } from './openai/stream.ts';
export type * from './openai/types.ts';
export { openStore } from './store/open-store.ts';
export type {
  ExportedFile,
  Store,
  StoredModel,
  StoreEstimate,
  StoreSourceOptions,
} from './store/types.ts';
export { sourceFromDrop } from './weights/file-source.ts';
export { openSource, type SourceLike } from './weights/open-source.ts';
export type { Source } from './weights/source.ts';
