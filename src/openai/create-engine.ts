/**
 * @file Chooses what answers an engine's requests: a model of this thread, a model of a worker, or a server. Only what an app uses is
 * loaded.
 */
import { loadModel } from '../chat/model.ts';
import { DeviceLimitError, WebGPUUnavailableError } from '../errors.ts';
import type { LoadOptions } from '../runtime/types.ts';
import { sourceFromDrop } from '../sources/file-source.ts';
import type { SourceLike } from '../sources/open-source.ts';
import type { Backend } from './backend.ts';
import { type Engine, type EngineOptions, engineOver } from './engine.ts';
import type { HandlerOptions } from './handler.ts';
import { localBackend } from './local.ts';
import type { RemoteOptions } from './remote.ts';

export interface CreateEngineOptions extends LoadOptions, EngineOptions {
  /**
   * Load and compute in a worker, so that the page's own thread stays free. Names, URLs, files, directory handles and drops can be
   * loaded there, with a store of `openStore()` or none; custom sources and `gpu` cannot cross.
   */
  worker?: boolean;
  /**
   * The server that answers where WebGPU is missing or the device cannot hold the model. That is known before weights are
   * downloaded; `engine.where` says which it is. Its `model` stands in for requests that name the local one.
   */
  fallback?: RemoteOptions;
}

/** An engine whose requests all go to a server of the OpenAI API: vLLM, SGLang, llama.cpp, Ollama, `shaderloom serve`. */
export function createEngine(server: RemoteOptions & HandlerOptions): Promise<Engine>;
/**
 * Loads a model and answers requests in the shape of the OpenAI API with it.
 * @param source what `loadModel` takes
 */
export function createEngine(source: SourceLike, options?: CreateEngineOptions): Promise<Engine>;
export async function createEngine(
  from: SourceLike | (RemoteOptions & HandlerOptions),
  options: CreateEngineOptions = {},
): Promise<Engine> {
  if (isServer(from)) return engineOver(await remote(from), from);
  const { modelId = nameOf(from), worker = false, fallback, maxBodyBytes: _, ...loadOptions } = options;
  try {
    return engineOver(await (worker ? inWorker : here)(from, modelId, loadOptions), options);
  } catch (error) {
    const isTooSmall = error instanceof DeviceLimitError || error instanceof WebGPUUnavailableError;
    if (!fallback || !isTooSmall) throw error;
    return engineOver(standingIn(await remote(fallback), modelId, fallback.model), options);
  }
}

function isServer(from: object | string): from is RemoteOptions & HandlerOptions {
  return typeof from === 'object' && from !== null && 'baseURL' in from;
}

async function here(source: SourceLike, modelId: string, options: LoadOptions): Promise<Backend> {
  return localBackend(await loadModel(source, options), modelId);
}

async function inWorker(source: SourceLike, modelId: string, options: LoadOptions): Promise<Backend> {
  // What was dropped is gone when its event is over, and an import takes longer.
  const isDrop = globalThis.DataTransfer && source instanceof DataTransfer;
  const held = isDrop ? sourceFromDrop(source) : source;
  const { workerBackend } = await import('../worker/worker-backend.ts');
  return workerBackend(held, modelId, options);
}

async function remote(options: RemoteOptions): Promise<Backend> {
  const { remoteBackend } = await import('./remote.ts');
  return remoteBackend(options);
}

/** The server for requests that name the local model, which it may have under another name. */
function standingIn(server: Backend, modelId: string, model: string | undefined): Backend {
  if (model === undefined) return server;
  const renamed = <Body extends { model?: string }>(body: Body): Body =>
    body?.model === modelId ? { ...body, model } : body;
  return {
    ...server,
    chat: (body, signal) => server.chat(renamed(body), signal),
    complete: (body, signal) => server.complete(renamed(body), signal),
    embed: (body, signal) => server.embed(renamed(body), signal),
    rerank: (body, signal) => server.rerank(renamed(body), signal),
  };
}

/** The model's name in requests, made from where it comes from. */
function nameOf(source: SourceLike): string {
  if (typeof source !== 'string') return 'local';
  const isPlace = /^(\.|\/|\w+:\/\/)/.test(source);
  return isPlace
    ? (source
        .split(/[?#]/)[0]!
        .split('/')
        .findLast((part) => part !== '') ?? 'local')
    : source;
}
