/** @file Many prompts of which something is read, some at a time; and whether a checkpoint was made for that. Knows no GPU. */
import type { Tokenizer } from '../../tokenizer/index.ts';
import {
  ContextLengthError,
  CorruptCheckpointError,
  InvalidInputError,
  UnsupportedConfigError,
} from '../errors.ts';
import type { Reading, ReadResult, RowValue, Session } from '../runtime/generate/session.ts';
import type { OpenedModel } from '../runtime/load/load.ts';
import type { ReadUsage } from './types.ts';

/** What reads prompts. */
export interface PromptReader {
  readonly session: Session;
  readonly tokenizer: Tokenizer;
  /** Values of a vector. */
  readonly hiddenSize: number;
  readonly contextLength: number;
  /** The checkpoint's files. */
  readonly source: OpenedModel['checkpoint']['source'];
}

/** A prompt, and what is read of it. */
export interface Question {
  readonly ids: readonly number[];
  readonly reading: Reading;
}

/** Prompts that wait or run at a time: as many as may run, so that whoever else asks soon has a turn. */
const AT_A_TIME = 16;

/**
 * What all prompts say, in their order. Where one fails, or the signal is aborted, the others end too.
 * @param what how messages name a prompt
 */
export async function readPrompts(
  { session, contextLength }: PromptReader,
  questions: readonly Question[],
  what: string,
  signal: AbortSignal | undefined,
): Promise<{ values: readonly (readonly RowValue[])[]; usage: ReadUsage }> {
  questions.forEach(({ ids }, i) => {
    if (ids.length <= contextLength) return;
    throw new ContextLengthError(
      `${what} ${i} has ${ids.length} tokens, the context holds ${contextLength}. Shorten it, or load the model with a larger contextLength.`,
    );
  });
  const failed = new AbortController();
  const results: ReadResult[] = [];
  let next = 0;
  const work = async (): Promise<void> => {
    // One for each: Node warns of many listeners to one.
    const either = AbortSignal.any([failed.signal, ...(signal ? [signal] : [])]);
    while (next < questions.length) {
      const i = next++;
      const { ids, reading } = questions[i]!;
      results[i] = await session.read(ids, reading, either);
    }
  };
  try {
    await Promise.all(Array.from({ length: AT_A_TIME }, work));
  } catch (error) {
    failed.abort(error);
    throw error;
  }
  const sum = (numbers: readonly number[]): number => numbers.reduce((a, b) => a + b, 0);
  return {
    values: results.map(({ values }) => values),
    usage: {
      promptTokens: sum(questions.map(({ ids }) => ids.length)),
      cachedTokens: sum(results.map(({ cachedTokens }) => cachedTokens)),
    },
  };
}

/**
 * Whether vectors or scores of this checkpoint mean something: it says so in modules.json (sentence-transformers), or by its name.
 * @throws InvalidInputError where neither does, UnsupportedConfigError where its vectors are made otherwise than from the last token
 */
export async function expectPurpose(
  source: PromptReader['source'],
  purpose: 'embed' | 'rerank',
  anyModel: boolean | undefined,
): Promise<void> {
  const modules = purpose === 'embed' ? await readJson(source, 'modules.json') : undefined;
  if (modules !== undefined) await checkModules(source, modules);
  else if (!anyModel && !nameOf(source).includes(purpose)) {
    const [made, example] =
      purpose === 'embed' ? ['embeddings', 'Qwen3-Embedding'] : ['reranking', 'Qwen3-Reranker'];
    throw new InvalidInputError(
      `${source.label} does not say that it was made for ${made}${purpose === 'embed' ? ' (it has no modules.json)' : ''}, and of another model the numbers mean little. ` +
        `Load one like ${example}, or give anyModel: true to have them all the same.`,
    );
  }
}

/** The last part of the path, or of `org/name@revision on hub`, in small letters. */
const nameOf = ({ label }: PromptReader['source']): string =>
  label
    .replace(/(@\S*)? on \S*$|[/\\]+$/, '')
    .split(/[/\\]/)
    .at(-1)!
    .toLowerCase();

async function checkModules(source: PromptReader['source'], modules: unknown): Promise<void> {
  const list: unknown[] = Array.isArray(modules) ? modules : [modules];
  for (const module of list) {
    const { type, path } = Object(module) as { type?: unknown; path?: unknown };
    const kind = typeof type === 'string' ? type.split('.').at(-1)! : JSON.stringify(module);
    if (kind === 'Pooling' && typeof path === 'string') await checkPooling(source, `${path}/config.json`);
    else if (kind !== 'Transformer' && kind !== 'Normalize') {
      throw new UnsupportedConfigError(
        `modules.json has ${kind.slice(0, 80)}, wanted Transformer, Pooling and Normalize, which are all that is implemented`,
      );
    }
  }
}

async function checkPooling(source: PromptReader['source'], file: string): Promise<void> {
  const config = Object((await readJson(source, file)) ?? {}) as Record<string, unknown>;
  const modes = Object.keys(config).filter((key) => key.startsWith('pooling_mode_') && config[key] === true);
  const found = config.pooling_mode ?? modes.map((mode) => mode.replace('pooling_mode_', '')).join();
  if (found === 'lasttoken') return;
  throw new UnsupportedConfigError(
    `${file} says that vectors are made by ${JSON.stringify(found)}, wanted lasttoken, the only pooling that is implemented`,
  );
}

async function readJson(source: PromptReader['source'], name: string): Promise<unknown> {
  const bytes = await source.readFile(name);
  if (!bytes) return undefined;
  try {
    return JSON.parse(new TextDecoder().decode(bytes));
  } catch (error) {
    throw new CorruptCheckpointError(`${name} is not JSON: ${(error as Error).message}`);
  }
}
