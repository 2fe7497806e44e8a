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
  EmbedInput,
  EmbedOptions,
  EmbedResult,
  GeneratedToken,
  GenerateResult,
  Model,
  ReadUsage,
  RerankOptions,
  RerankResult,
  ScoredToken,
  ScoreOptions,
  TextLogprob,
  TokenLogprob,
  ToolCall,
  ToolCallDelta,
  ToolDefinition,
} from './chat/types.ts';
export type { ResponseFormat } from './constrain/index.ts';
export * from './errors.ts';
export { type CreateEngineOptions, createEngine } from './openai/create-engine.ts';
export {
  type ChatCompletions,
  type Embeddings,
  type Engine,
  type EngineOptions,
  engineOf,
  type ModelList,
  type RequestOptions,
  type TextCompletions,
} from './openai/engine.ts';
export type { RemoteOptions } from './openai/remote.ts';
export type { CompletionStream } from './openai/stream.ts';
export type * from './openai/types.ts';
export { parseDebugFlags } from './runtime/debug.ts';
export type { Inspected } from './runtime/generate/session.ts';
export { checkFit } from './runtime/load/check-fit.ts';
export * from './runtime/types.ts';
export { sourceFromDrop } from './sources/file-source.ts';
export { openSource, type SourceLike } from './sources/open-source.ts';
export type { Source } from './sources/source.ts';
export { openStore } from './store/open-store.ts';
export type {
  ExportedFile,
  Store,
  StoredModel,
  StoreEstimate,
  StoreSourceOptions,
} from './store/types.ts';
