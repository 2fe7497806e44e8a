/**
 * @file A loaded model as apps use it: text and messages in, deltas out. Joins the engine (ids) with the tokenizer and the
 * chat template. Knows no GPU.
 */
import {
  ChatTemplate,
  ChatTemplateError,
  type ChatTemplateSource,
  Tokenizer,
  TokenizerError,
} from '../../tokenizer/index.ts';
import { samplingParams } from '../engine/generation-config.ts';
import { openModel, type SourceLike, type StartedModel, startModel } from '../engine/load.ts';
import type { GenerateOptions, LoadOptions } from '../engine/types.ts';
import { InvalidInputError } from '../errors.ts';
import { type Answer, createAnswer } from './answer.ts';
import type { AnswerConstraint, Constrainer } from './constrained.ts';
import { createMessageBuilder } from './message.ts';
import { createMessageParser, type ReasoningStart } from './message-parser.ts';
import { renderPrompt } from './prompt.ts';
import { toolFormatOf } from './tool-formats.ts';
import type {
  ChatDelta,
  ChatMessage,
  ChatOptions,
  ChatResult,
  ChatStream,
  GeneratedToken,
  GenerateResult,
  Model,
} from './types.ts';

/** Alternatives that can be told of a token. */
const MAX_LOGPROBS = 20;

/**
 * Loads a checkpoint as published on Hugging Face.
 * @param from its name (`org/name[@revision]`, `modelscope:org/name`), the URL of its folder, files or a folder handle of the browser, what was dropped, or a Source (`folder(path)` of shaderloom/node)
 */
export async function loadModel(from: SourceLike, options: LoadOptions = {}): Promise<Model> {
  const opened = await openModel(from, options);
  const [tokenizerJson, tokenizerConfig, template] = await Promise.all([
    opened.readJson('tokenizer.json'),
    opened.readJson('tokenizer_config.json'),
    opened.readText('chat_template.jinja'),
  ]);
  if (!tokenizerJson) {
    throw new TokenizerError(
      'The checkpoint has no tokenizer.json, wanted a byte-level BPE tokenizer beside config.json.',
    );
  }
  const tokenizer = Tokenizer.fromJSON(tokenizerJson, tokenizerConfig);
  const chatTemplate = templateOf({ chatTemplateJinja: template, tokenizerConfig });
  return createModel(await startModel(opened, options), tokenizer, chatTemplate);
}

/** A checkpoint without a usable template still generates; only `chat` gives the error. */
function templateOf(source: ChatTemplateSource): ChatTemplate | ChatTemplateError {
  try {
    return ChatTemplate.fromCheckpoint(source);
  } catch (error) {
    if (error instanceof ChatTemplateError) return error;
    throw error;
  }
}

function createModel(
  started: StartedModel,
  tokenizer: Tokenizer,
  template: ChatTemplate | ChatTemplateError,
): Model {
  const { session, info } = started;
  const eos = tokenizer.eosTokenId === undefined ? [] : [tokenizer.eosTokenId];
  const defaultStops = [...started.stopTokens, ...eos];
  let constrainer: Constrainer | undefined;
  const toolFormat = template instanceof ChatTemplateError ? undefined : toolFormatOf(template.source);

  /** Starts the engine on a prompt. */
  function start(
    ids: readonly number[],
    options: GenerateOptions,
    thinking: ReasoningStart,
    { tools, parallelToolCalls, thinkingBudget }: Omit<ChatOptions, keyof GenerateOptions> = {},
    constraint?: AnswerConstraint,
  ): Answer {
    const { samplingDefaults, contextLength } = info;
    const parser = createMessageParser({
      start: thinking,
      stop: stopTexts(options.stop),
      tools:
        toolFormat && tools?.length
          ? { format: toolFormat, definitions: tools, isSingle: parallelToolCalls === false }
          : undefined,
    });
    return createAnswer(session, tokenizer, parser, ids, {
      sampling: samplingParams(options, samplingDefaults),
      logitBias: options.logitBias,
      maxTokens: maxTokensOf(options.maxTokens ?? samplingDefaults.maxTokens),
      logprobs: logprobsOf(options.logprobs),
      stopTokens: new Set(options.stopTokens ?? defaultStops),
      contextLength,
      thinkingBudget,
      constraint,
      signal: options.signal,
    });
  }

  /** What holds the answer to a form. What makes masks is loaded with the first. */
  async function constraintOf(options: ChatOptions, thinking: ReasoningStart): Promise<AnswerConstraint> {
    const { createConstrainer } = await import('./constrained.ts');
    const { vocabSize } = started;
    constrainer ??= createConstrainer({ tokenizer, vocabSize, stopTokens: defaultStops, toolFormat });
    return constrainer(options, thinking);
  }

  async function* generate(
    prompt: ArrayLike<number>,
    options: GenerateOptions = {},
  ): AsyncGenerator<GeneratedToken, GenerateResult> {
    const answer = start(Array.from(prompt), options, 'closed');
    const ids: number[] = [];
    let text = '';
    const take = (): string => {
      const fresh = answer
        .take()
        .map((d) => d.content ?? '')
        .join('');
      text += fresh;
      return fresh;
    };
    try {
      let next = await answer.tokens.next();
      for (; !next.done; next = await answer.tokens.next()) {
        ids.push(next.value);
        const { chance } = answer;
        const told = chance && { logprob: chance.logprob, topLogprobs: chance.top };
        yield { id: next.value, text: take(), ...told };
      }
      answer.end();
      take();
      return { ids, text, finishReason: next.value.finishReason, ...answer.figures(next.value) };
    } finally {
      await answer.tokens.return(undefined as never);
    }
  }

  function chat(messages: readonly ChatMessage[], options: ChatOptions = {}): ChatStream {
    const abandon = new AbortController();
    const signal = options.signal ? AbortSignal.any([options.signal, abandon.signal]) : abandon.signal;
    const queue: ChatDelta[] = [];
    let wake = (): void => {};
    let isDone = false;

    async function run(): Promise<ChatResult> {
      const prompt = renderPrompt(template, messages, options);
      const ids = Array.from(tokenizer.encode(prompt.text, { addBos: false }));
      const isHeld =
        options.responseFormat || options.toolChoice || options.tools?.some((tool) => tool.function.strict);
      const constraint = isHeld ? await constraintOf(options, prompt.thinking) : undefined;
      const answer = start(ids, { ...options, signal }, prompt.thinking, options, constraint);
      const builder = createMessageBuilder();
      const give = (): void => {
        for (const delta of answer.take()) {
          builder.add(delta);
          queue.push(delta);
        }
        wake();
      };
      let next = await answer.tokens.next();
      for (; !next.done; next = await answer.tokens.next()) give();
      answer.end();
      give();
      const message = builder.build();
      const { finishReason } = next.value;
      return {
        message,
        finishReason: finishReason === 'stop' && message.tool_calls ? 'tool_calls' : finishReason,
        ...answer.figures(next.value),
      };
    }

    const result = run();
    const settled = result.then(
      () => {},
      () => {},
    );
    void settled.then(() => {
      isDone = true;
      wake();
    });
    return {
      result,
      async *[Symbol.asyncIterator]() {
        try {
          while (queue.length > 0 || !isDone) {
            const delta = queue.shift();
            if (delta) yield delta;
            else {
              await new Promise<void>((resolve) => {
                wake = resolve;
              });
            }
          }
          await result;
        } finally {
          // Whoever stops listening does not want the rest.
          if (!isDone) abandon.abort();
          await settled;
        }
      },
    };
  }

  return {
    info: {
      ...info,
      canToggleThinking: !(template instanceof ChatTemplateError) && template.abilities.readsEnableThinking,
    },
    tokenizer,
    lost: started.lost,
    generate,
    chat,
    inspect: (ids, names, { rows = 64 } = {}) => session.inspect(Array.from(ids), names, rows),
    dispose: started.dispose,
  };
}

function stopTexts(stop: GenerateOptions['stop']): string[] {
  const texts = stop === undefined ? [] : typeof stop === 'string' ? [stop] : [...stop];
  if (texts.some((text) => typeof text !== 'string' || text === '')) {
    throw new InvalidInputError(
      `stop is ${JSON.stringify(stop)}, wanted a text or a list of texts, none of them empty`,
    );
  }
  return texts;
}

function maxTokensOf(maxTokens: number | undefined): number {
  if (maxTokens === undefined) return Number.POSITIVE_INFINITY;
  if (!Number.isSafeInteger(maxTokens) || maxTokens < 1) {
    throw new InvalidInputError(`maxTokens is ${maxTokens}, wanted a positive integer`);
  }
  return maxTokens;
}

function logprobsOf(count: number | undefined): number | undefined {
  if (count !== undefined && !(Number.isSafeInteger(count) && count >= 0 && count <= MAX_LOGPROBS)) {
    throw new InvalidInputError(`logprobs is ${count}, wanted an integer from 0 to ${MAX_LOGPROBS}`);
  }
  return count;
}
