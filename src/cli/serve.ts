/** @file `shaderloom serve`: serves a model with the OpenAI API, by default to this computer only. */
import { existsSync } from 'node:fs';
import { basename, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { createEngine, type LoadOptions, ShaderloomError, type Speculation } from '../index.ts';
import { folderStore, gpu, type ServedRequest, serve } from '../node.ts';
import { number, showProgress, sourceOf, variable } from './terminal.ts';

export const USAGE =
  'serve MODEL [--port 8000] [--host 127.0.0.1] [--api-key KEY] [--cors ORIGIN] [--model-id NAME] [--context N] [--weights auto|published|bf16|f16|int8|int4] [--sequences N] [--cache-tokens N] [--speculate mtp|lookup] [--store DIR --store-bytes N]';

/** The bound must be given: a guessed one can be wrong by gigabytes. */
const STORE_NEEDS = '--store DIR needs --store-bytes N, how much the folder may hold';

export async function serveModel(args: string[]): Promise<void> {
  const { values, positionals } = parseArgs({
    args,
    allowPositionals: true,
    options: {
      port: { type: 'string' },
      host: { type: 'string' },
      'api-key': { type: 'string' },
      cors: { type: 'string' },
      'model-id': { type: 'string' },
      context: { type: 'string' },
      weights: { type: 'string' },
      sequences: { type: 'string' },
      'cache-tokens': { type: 'string' },
      speculate: { type: 'string' },
      store: { type: 'string' },
      'store-bytes': { type: 'string' },
    },
  });
  const [from, ...others] = positionals;
  if (from === undefined || others.length > 0) throw new ShaderloomError(`usage: shaderloom ${USAGE}`);
  const maxBytes = number('store-bytes', values['store-bytes']);
  if (values.store !== undefined && maxBytes === undefined) throw new ShaderloomError(STORE_NEEDS);
  const stopper = new AbortController();
  const stop = (): void => stopper.abort();
  process.once('SIGINT', stop).once('SIGTERM', stop);

  const engine = await createEngine(await sourceOf(from), {
    gpu: await gpu(),
    hub: { token: variable('HF_TOKEN'), endpoint: variable('HF_ENDPOINT') },
    modelId: values['model-id'] ?? modelName(from),
    contextLength: number('context', values.context),
    // Checked where they are used.
    weights: values.weights as LoadOptions['weights'],
    speculate: values.speculate as Speculation | undefined,
    maxSequences: number('sequences', values.sequences),
    cacheTokens: number('cache-tokens', values['cache-tokens']),
    ...(values.store !== undefined && { store: folderStore(values.store, { maxBytes: maxBytes! }) }),
    signal: stopper.signal,
    onProgress: showProgress,
  });
  try {
    const server = await serve(engine, {
      port: number('port', values.port),
      host: values.host,
      apiKey: values['api-key'] ?? variable('SHADERLOOM_API_KEY'),
      cors: values.cors,
      onRequest: logRequest,
    });
    const [model] = (await engine.models.list()).data;
    console.log(`${model!.id} answers at ${server.url}`);
    const ended = await Promise.race([
      engine.lost,
      new Promise<undefined>((resolve) => {
        if (stopper.signal.aborted) resolve(undefined);
        stopper.signal.addEventListener('abort', () => resolve(undefined));
      }),
    ]);
    if (!ended) console.log('Waiting for the answers that are being written; Ctrl-C again ends them too.');
    const hurry = new Promise<void>((resolve) => {
      process.once('SIGINT', resolve).once('SIGTERM', resolve);
    });
    void hurry.then(() => server.close({ patience: 0 }));
    await server.close();
    if (ended) throw ended;
  } finally {
    await engine.dispose();
  }
}

/** What requests call the model by default. */
const modelName = (from: string): string => (existsSync(from) ? basename(resolve(from)) : from);

function logRequest({ method, path, status, milliseconds, isAborted }: ServedRequest): void {
  console.log(`${method} ${path} ${isAborted ? 'aborted' : status} ${Math.round(milliseconds)} ms`);
}
