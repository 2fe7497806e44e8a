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
  thinkState,
} from '../../tokenizer/index.ts';
import { samplingParams } from '../engine/generation-config.ts';
import { openModel, type SourceLike, type StartedModel, startModel } from '../engine/load.ts';
import type { TokenResult } from '../engine/session.ts';
import type { GenerateOptions, LoadOptions, Timings, Usage } from '../engine/types.ts';
import { InvalidInputError } from '../errors.ts';
import { createReasoningParser, type ReasoningParser, type ReasoningStart } from './reasoning.ts';
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

  /** Starts the engine on a prompt; `run.take` gives the text of the tokens so far. */
  function start(ids: readonly number[], options: GenerateOptions, thinking: ReasoningStart) {
    const { samplingDefaults } = info;
    const stopTokens = new Set(options.stopTokens ?? defaultStops);
    const run = createTextRun(
      tokenizer,
      stopTokens,
      createReasoningParser({ start: thinking, stop: stopTexts(options.stop) }),
    );
    const generation = session.generate(ids, {
      sampling: samplingParams(options, samplingDefaults),
      logitBias: options.logitBias,
      maxTokens: maxTokensOf(options.maxTokens ?? samplingDefaults.maxTokens),
      accept: run.accept,
      signal: options.signal,
    });
    return { run, generation };
  }

  async function* generate(
    prompt: ArrayLike<number>,
    options: GenerateOptions = {},
  ): AsyncGenerator<GeneratedToken, GenerateResult> {
    const ids = Array.from(prompt);
    const { run, generation } = start(ids, options, 'closed');
    const generated: number[] = [];
    let text = '';
    const take = (): string => {
      const fresh = run
        .take()
        .map((d) => d.content ?? '')
        .join('');
      text += fresh;
      return fresh;
    };
    try {
      let next = await generation.next();
      for (; !next.done; next = await generation.next()) {
        generated.push(next.value);
        yield { id: next.value, text: take() };
      }
      run.end();
      take();
      const { finishReason } = next.value;
      return { ids: generated, text, finishReason, ...figures(ids.length, next.value, run) };
    } finally {
      await generation.return(undefined as never);
    }
  }

  function chat(messages: readonly ChatMessage[], options: ChatOptions = {}): ChatStream {
    const abandon = new AbortController();
    const signal = options.signal ? AbortSignal.any([options.signal, abandon.signal]) : abandon.signal;
    const queue: ChatDelta[] = [];
    let wake = (): void => {};
    let isDone = false;
    const message = { role: 'assistant' as const, content: '', reasoning_content: '' };

    async function answer(): Promise<ChatResult> {
      const { prompt, thinking } = render(messages, options);
      const ids = Array.from(tokenizer.encode(prompt, { addBos: false }));
      const { run, generation } = start(ids, { ...options, signal }, thinking);
      const give = (): void => {
        for (const delta of run.take()) {
          message.content += delta.content ?? '';
          message.reasoning_content += delta.reasoning ?? '';
          queue.push(delta);
        }
        wake();
      };
      let next = await generation.next();
      for (; !next.done; next = await generation.next()) give();
      run.end();
      give();
      return { message, finishReason: next.value.finishReason, ...figures(ids.length, next.value, run) };
    }

    const result = answer();
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

  /** The prompt, and where the answer begins: inside a think block that the prompt has opened, behind one, or as the model decides. */
  function render(
    messages: readonly ChatMessage[],
    options: ChatOptions,
  ): { prompt: string; thinking: ReasoningStart } {
    if (template instanceof ChatTemplateError) throw template;
    checkMessages(messages);
    const { enableThinking, continueFinalMessage = false } = options;
    const templateArgs = {
      ...(enableThinking === undefined ? {} : { enable_thinking: enableThinking }),
      ...options.templateArgs,
    };
    const prompt = template.render(messages, {
      tools: options.tools,
      addGenerationPrompt: !continueFinalMessage,
      continueFinalMessage,
      templateArgs,
    });
    if (continueFinalMessage) {
      const { content } = messages.at(-1)!;
      return {
        prompt,
        thinking: typeof content === 'string' && thinkState(content) === 'open' ? 'open' : 'closed',
      };
    }
    const { think } = template.generationPrompt(templateArgs);
    return { prompt, thinking: think === 'none' ? 'ask' : think };
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

/** Tokens to text to deltas, as the engine asks about each token whether to go on. */
interface TextRun {
  /** Takes a token; false ends the answer. */
  readonly accept: (id: number) => boolean;
  /** Deltas since the last call. */
  take(): ChatDelta[];
  /** Releases what was held back. */
  end(): void;
  readonly numTokens: number;
  readonly numReasoningTokens: number;
}

function createTextRun(
  tokenizer: Tokenizer,
  stopTokens: ReadonlySet<number>,
  parser: ReasoningParser,
): TextRun {
  const decoder = tokenizer.createStream({ skipSpecial: true });
  let deltas: ChatDelta[] = [];
  let [numTokens, numReasoningTokens] = [0, 0];
  return {
    accept(id) {
      numTokens++;
      if (stopTokens.has(id)) return false;
      const wasReasoning = parser.isReasoning;
      deltas.push(...parser.push(decoder.push(id)));
      if (wasReasoning || parser.isReasoning) numReasoningTokens++;
      return !parser.isStopped;
    },
    take() {
      const taken = deltas;
      deltas = [];
      return taken;
    },
    end() {
      deltas.push(...parser.push(decoder.flush()), ...parser.end());
    },
    get numTokens() {
      return numTokens;
    },
    get numReasoningTokens() {
      return numReasoningTokens;
    },
  };
}

function figures(
  promptTokens: number,
  result: TokenResult,
  run: TextRun,
): { usage: Usage; timings: Timings } {
  const { cachedTokens, draftTokens, acceptedTokens, numSteps, prefillTime, decodeTime } = result;
  // The first token comes out of the prefill.
  const decoded = Math.max(0, run.numTokens - 1);
  const perSecond = (tokens: number, milliseconds: number): number =>
    milliseconds > 0 ? (tokens * 1000) / milliseconds : 0;
  return {
    usage: {
      promptTokens,
      cachedTokens,
      completionTokens: run.numTokens,
      reasoningTokens: run.numReasoningTokens,
      draftTokens,
      acceptedTokens,
    },
    timings: {
      timeToFirstToken: prefillTime,
      prefillTokensPerSecond: perSecond(promptTokens - cachedTokens, prefillTime),
      decodeTokensPerSecond: perSecond(decoded, decodeTime),
      tokensPerStep: numSteps > 0 ? decoded / numSteps : 1,
    },
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

function checkMessages(messages: readonly ChatMessage[]): void {
  const wanted = 'a list of messages, each an object with a role: [{ role: "user", content: "..." }]';
  if (!Array.isArray(messages) || messages.length === 0) {
    throw new InvalidInputError(
      `messages is ${Array.isArray(messages) ? 'empty' : typeof messages}, wanted ${wanted}`,
    );
  }
  messages.forEach((message: unknown, i) => {
    const role = typeof message === 'object' && message !== null ? (message as ChatMessage).role : undefined;
    if (typeof role !== 'string')
      throw new InvalidInputError(
        `messages[${i}] is ${JSON.stringify(message)?.slice(0, 80)}, wanted ${wanted}`,
      );
  });
}
