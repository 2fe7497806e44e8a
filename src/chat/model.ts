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
import { InvalidInputError } from '../errors.ts';
import { samplingParams } from '../runtime/load/generation-config.ts';
import {
  type OpenedModel,
  openModel,
  type SourceLike,
  type StartedModel,
  startModel,
} from '../runtime/load/load.ts';
import type { GenerateOptions, LoadOptions } from '../runtime/types.ts';
import { Answer } from './answer.ts';
import type { AnswerConstraint, Constrainer } from './constrained.ts';
import { DeltaStream } from './delta-stream.ts';
import { createMessageBuilder } from './message.ts';
import { MessageParser, type ReasoningStart } from './message-parser.ts';
import { renderPrompt } from './prompt.ts';
import type { PromptReader } from './read-prompts.ts';
import { type ReasoningFormat, reasoningFormatOf } from './reasoning-formats.ts';
import { type ToolFormat, toolFormatOf } from './tool-formats.ts';
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

/** The most alternatives that are given for a token. */
const MAX_LOGPROBS = 20;

/**
 * Loads a checkpoint as published on Hugging Face.
 * @param from its name (`org/name[@revision]`, `modelscope:org/name`), the URL of its folder, files, a folder handle of the browser or what was dropped on the page, or a Source (`folder(path)` of shaderloom/node)
 */
export async function loadModel(from: SourceLike, options: LoadOptions = {}): Promise<Model> {
  const opened = await openModel(from, options);
  const [tokenizerJson, tokenizerConfig, template] = await Promise.all([
    opened.readJson('tokenizer.json'),
    opened.readJson('tokenizer_config.json'),
    opened.readText('chat_template.jinja'),
  ]);
  const tokenizer = tokenizerJson
    ? await Tokenizer.load(tokenizerJson, tokenizerConfig)
    : await tokenizerOfVocab(opened, tokenizerConfig);
  const chatTemplate = templateOf({ chatTemplateJinja: template, tokenizerConfig });
  return createModel(await startModel(opened, options), tokenizer, chatTemplate, opened.checkpoint.source);
}

/** The tokenizer of a checkpoint that has a vocabulary and merges in files of their own. */
async function tokenizerOfVocab(
  { readJson, readText }: OpenedModel,
  tokenizerConfig: unknown,
): Promise<Tokenizer> {
  const [vocab, merges] = [await readJson('vocab.json'), await readText('merges.txt')];
  if (!vocab || merges === undefined) {
    throw new TokenizerError(
      'The checkpoint has no tokenizer.json, nor vocab.json with merges.txt, wanted a BPE tokenizer beside config.json.',
    );
  }
  return Tokenizer.fromVocabFiles(
    { vocab, merges, addedTokens: await readJson('added_tokens.json') },
    tokenizerConfig,
  );
}

/** A checkpoint without a usable template can still generate; only `chat` throws the error. */
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
  source: PromptReader['source'],
): Model {
  const { session, info, lost, dispose, hiddenSize } = started;
  const text = new TextModel(started, tokenizer, template);
  const reader = { session, tokenizer, source, hiddenSize, contextLength: info.contextLength };
  return {
    info: {
      ...info,
      canToggleThinking: !(template instanceof ChatTemplateError) && template.abilities.readsEnableThinking,
    },
    tokenizer,
    lost,
    generate: (ids, options) => text.generate(ids, options),
    chat: (messages, options) => text.chat(messages, options),
    async score(ids, options = {}) {
      logprobsOf(options.logprobs);
      const { scoreTokens } = await import('./score.ts');
      return scoreTokens(session, Array.from(ids), options);
    },
    embed: async (input, options = {}) => (await import('./embed.ts')).embed(reader, input, options),
    rerank: async (query, documents, options = {}) =>
      (await import('./rerank.ts')).rerank(reader, query, documents, options),
    inspect: (ids, names, { rows = 64 } = {}) => session.inspect(Array.from(ids), names, rows),
    dispose,
  };
}

/** What a model makes of prompts and messages. */
class TextModel {
  readonly #started: StartedModel;
  readonly #tokenizer: Tokenizer;
  readonly #template: ChatTemplate | ChatTemplateError;
  readonly #stopTokens: readonly number[];
  readonly #toolFormat: ToolFormat | undefined;
  readonly #reasoning: ReasoningFormat;
  #constrainer: Constrainer | undefined;

  constructor(started: StartedModel, tokenizer: Tokenizer, template: ChatTemplate | ChatTemplateError) {
    const source = template instanceof ChatTemplateError ? '' : template.source;
    const eos = tokenizer.eosTokenId === undefined ? [] : [tokenizer.eosTokenId];
    this.#started = started;
    this.#tokenizer = tokenizer;
    this.#template = template;
    this.#stopTokens = [...started.stopTokens, ...eos];
    this.#toolFormat = toolFormatOf(source);
    this.#reasoning = reasoningFormatOf(source);
  }

  async *generate(
    prompt: ArrayLike<number>,
    options: GenerateOptions = {},
  ): AsyncGenerator<GeneratedToken, GenerateResult> {
    const answer = this.#start(Array.from(prompt), options, 'closed');
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
        const { logprob } = answer;
        const told = logprob && { logprob: logprob.logprob, topLogprobs: logprob.top };
        yield { id: next.value, text: take(), ...told };
      }
      answer.end();
      take();
      return { ids, text, finishReason: next.value.finishReason, ...answer.figures(next.value) };
    } finally {
      await answer.tokens.return(undefined as never);
    }
  }

  chat(messages: readonly ChatMessage[], options: ChatOptions = {}): ChatStream {
    return new DeltaStream((give, signal) => this.#reply(messages, options, signal, give), options.signal);
  }

  async #reply(
    messages: readonly ChatMessage[],
    options: ChatOptions,
    signal: AbortSignal,
    give: (deltas: readonly ChatDelta[]) => void,
  ): Promise<ChatResult> {
    const prompt = renderPrompt(this.#template, messages, options);
    const ids = Array.from(this.#tokenizer.encode(prompt.text, { addBos: false }));
    const isHeld =
      options.responseFormat || options.toolChoice || options.tools?.some((tool) => tool.function.strict);
    const constraint = isHeld ? await this.#constraint(options, prompt.thinking) : undefined;
    const answer = this.#start(ids, { ...options, signal }, prompt.thinking, options, constraint);
    const builder = createMessageBuilder();
    const pass = (): void => {
      const deltas = answer.take();
      for (const delta of deltas) builder.add(delta);
      give(deltas);
    };
    let next = await answer.tokens.next();
    for (; !next.done; next = await answer.tokens.next()) pass();
    answer.end();
    pass();
    const message = builder.build();
    const { finishReason } = next.value;
    return {
      message,
      finishReason: finishReason === 'stop' && message.tool_calls ? 'tool_calls' : finishReason,
      ...answer.figures(next.value),
    };
  }

  /** Starts the engine on a prompt. */
  #start(
    ids: readonly number[],
    options: GenerateOptions,
    thinking: ReasoningStart,
    { tools, parallelToolCalls, thinkingBudget }: Omit<ChatOptions, keyof GenerateOptions> = {},
    constraint?: AnswerConstraint,
  ): Answer {
    const { session, info } = this.#started;
    const format = this.#toolFormat;
    const parser = new MessageParser({
      start: thinking,
      reasoning: this.#reasoning,
      stop: stopTexts(options.stop),
      tools:
        format && tools?.length
          ? { format, definitions: tools, isSingle: parallelToolCalls === false }
          : undefined,
    });
    return new Answer(session, this.#tokenizer, parser, ids, {
      sampling: samplingParams(options, info.samplingDefaults),
      logitBias: options.logitBias,
      maxTokens: maxTokensOf(options.maxTokens ?? info.samplingDefaults.maxTokens),
      logprobs: logprobsOf(options.logprobs),
      stopTokens: new Set(options.stopTokens ?? this.#stopTokens),
      thinkingBudget,
      constraint,
      signal: options.signal,
    });
  }

  /** What holds the answer to a form. The code that makes masks is loaded with the first one. */
  async #constraint(options: ChatOptions, thinking: ReasoningStart): Promise<AnswerConstraint> {
    const { createConstrainer } = await import('./constrained.ts');
    this.#constrainer ??= createConstrainer({
      tokenizer: this.#tokenizer,
      vocabSize: this.#started.vocabSize,
      stopTokens: this.#stopTokens,
      reasoning: this.#reasoning,
      toolFormat: this.#toolFormat,
    });
    return this.#constrainer(options, thinking);
  }
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
