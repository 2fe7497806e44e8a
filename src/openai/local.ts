/**
 * @file Answers requests with a model of this thread: each answer of a request is one generation, given as chunks. Knows no HTTP.
 */
import type {
  ChatDelta,
  GeneratedToken,
  GenerateResult,
  Model,
  ScoredToken,
  TextLogprob,
} from '../chat/types.ts';
import { apiErrorOf, stopped } from './api-error.ts';
import type { Backend } from './backend.ts';
import { type ChatPlan, type CompletionPlan, checkChat, checkCompletion } from './check.ts';
import { type Costs, createCosts, NO_COST } from './costs.ts';
import { echoLogprobs, promptLogprobs } from './prompt-scores.ts';
import type {
  ChatCompletionChunk,
  ChoiceLogprobs,
  ChunkChoice,
  ChunkDelta,
  CompletionChunk,
  CompletionLogprobs,
  CompletionTopLogprob,
} from './types.ts';

/** @param id the name under which the model is asked for */
export function localBackend(model: Model, id: string): Backend {
  const created = now();
  const known = { id, vocabSize: model.tokenizer.vocabSize };
  const fingerprint = fingerprintOf(model.info);
  const stamp = (prefix: string) => ({
    id: `${prefix}-${crypto.randomUUID().replaceAll('-', '')}`,
    created: now(),
    model: id,
    system_fingerprint: fingerprint,
  });

  async function* chat(body: unknown, signal: AbortSignal | undefined): AsyncGenerator<ChatCompletionChunk> {
    const plan = checkChat(body, known);
    const head = { ...stamp('chatcmpl'), object: 'chat.completion.chunk' as const };
    const costs = createCosts();
    try {
      for (let index = 0; index < plan.n; index++) {
        for await (const choice of chatChoice(model, plan, index, signal, costs)) {
          yield { ...head, choices: [choice] };
        }
      }
    } catch (error) {
      const held = plan.formatParam ?? (plan.options.tools ? 'tools' : null);
      throw apiErrorOf(error, signal, { text: 'messages', held });
    }
    yield { ...head, choices: [], ...costs.total() };
  }

  async function* complete(body: unknown, signal: AbortSignal | undefined): AsyncGenerator<CompletionChunk> {
    const plan = checkCompletion(body, known);
    const head = { ...stamp('cmpl'), object: 'text_completion' as const };
    const costs = createCosts();
    const left = new AbortController();
    const promptAt = readAhead(model, plan, AbortSignal.any([left.signal, ...(signal ? [signal] : [])]));
    try {
      for (let index = 0; index < plan.prompts.length * plan.n; index++) {
        const prompt = await promptAt(Math.floor(index / plan.n));
        for await (const choice of textChoice(model, plan, prompt, index, signal, costs)) {
          yield { ...head, choices: [choice] };
        }
      }
    } catch (error) {
      throw apiErrorOf(error, signal, { text: 'prompt', held: 'prompt' });
    } finally {
      left.abort();
    }
    yield { ...head, choices: [], ...costs.total() };
  }

  return {
    where: 'local',
    info: model.info,
    chat,
    complete,
    embed: async (body, signal) =>
      (await import('./local-reading.ts')).embeddings(model, known, body, signal),
    rerank: async (body, signal) => (await import('./local-reading.ts')).rerank(model, known, body, signal),
    models: async () => [
      { id, object: 'model', created, owned_by: 'shaderloom', max_model_len: model.info.contextLength },
    ],
    lost: model.lost,
    dispose: async () => model.dispose(),
  };
}

/** One answer. The chunk with the role comes with the first delta, because until then the request may still fail. */
async function* chatChoice(
  model: Model,
  { messages, options, seed }: ChatPlan,
  index: number,
  signal: AbortSignal | undefined,
  costs: Costs,
): AsyncGenerator<ChunkChoice> {
  const stream = model.chat(messages, { ...options, seed: seed === undefined ? seed : seed + index, signal });
  const role: ChunkChoice = { index, delta: { role: 'assistant', content: '' }, finish_reason: null };
  let isBegun = false;
  for await (const delta of stream) {
    if (!isBegun) yield role;
    isBegun = true;
    yield chunkOf(index, delta);
  }
  const result = await stream.result;
  const { finishReason } = result;
  if (finishReason === 'abort') throw stopped(signal);
  costs.add(result, index === 0);
  if (!isBegun) yield role;
  yield { index, delta: {}, finish_reason: finishReason };
}

function chunkOf(
  index: number,
  { reasoning, content, toolCalls, logprobs, ...dropped }: ChatDelta,
): ChunkChoice {
  const delta: ChunkDelta = {};
  if (reasoning !== undefined) {
    delta.reasoning_content = reasoning;
    delta.reasoning = reasoning;
  }
  if (content !== undefined) delta.content = content;
  if (toolCalls) delta.tool_calls = toolCalls;
  if (dropped.malformed) delta.malformed = true;
  if (dropped.droppedCall !== undefined) delta.dropped_tool_call = dropped.droppedCall;
  const choice: ChunkChoice = { index, delta, finish_reason: null };
  if (logprobs) choice.logprobs = contentLogprobs(logprobs);
  return choice;
}

function contentLogprobs(tokens: NonNullable<ChatDelta['logprobs']>): ChoiceLogprobs {
  const content = tokens.map(({ top, ...token }) => ({
    ...topLogprob(token),
    top_logprobs: top.map(topLogprob),
  }));
  return { content, refusal: null };
}

function topLogprob({ text, bytes, logprob }: TextLogprob): CompletionTopLogprob {
  return { token: text, bytes: [...bytes], logprob };
}

/** What a prompt is: its ids, what is echoed of it, and what the model thought of its tokens where somebody asks. */
interface Prompt {
  ids: ArrayLike<number>;
  echo: string;
  scored: readonly ScoredToken[] | undefined;
}

/** Prompts that are read while the one before them is answered: side by side they cost less. */
const AHEAD = 8;

function readAhead(
  model: Model,
  plan: CompletionPlan,
  signal: AbortSignal,
): (index: number) => Promise<Prompt> {
  const reading: Promise<Prompt>[] = [];
  return (index) => {
    for (let i = reading.length; i < Math.min(index + AHEAD, plan.prompts.length); i++) {
      reading[i] = readPrompt(model, plan, i, signal);
      // Whoever comes to it is told.
      reading[i]!.catch(() => {});
    }
    // Those before are answered.
    delete reading[index - 1];
    return reading[index]!;
  };
}

async function readPrompt(
  model: Model,
  { prompts, options, isEchoed, promptLogprobs }: CompletionPlan,
  index: number,
  signal: AbortSignal,
): Promise<Prompt> {
  const { tokenizer } = model;
  const prompt = prompts[index]!;
  const ids = typeof prompt === 'string' ? tokenizer.encode(prompt) : prompt;
  const echo = isEchoed ? (typeof prompt === 'string' ? prompt : tokenizer.decode(ids)) : '';
  const counts = [isEchoed ? options.logprobs : undefined, promptLogprobs].filter((n) => n !== undefined);
  // Where nothing is generated, this is what finds out whether the prompt can be read at all.
  const isScored = counts.length > 0 || options.maxTokens === 0;
  // A signal of its own: Node warns of many listeners to one.
  const asked = { logprobs: Math.max(0, ...counts), signal: AbortSignal.any([signal]) };
  return { ids, echo, scored: isScored ? await model.score(ids, asked) : undefined };
}

/** The piece of an answer that comes before its first token. */
function echoed(
  model: Model,
  { options, isEchoed, promptLogprobs: count }: CompletionPlan,
  { echo, scored }: Prompt,
): Pick<CompletionChunk['choices'][number], 'text' | 'logprobs' | 'prompt_logprobs'> {
  const isTold = scored && isEchoed && options.logprobs !== undefined;
  return {
    text: echo,
    logprobs: isTold ? echoLogprobs(model, scored, options.logprobs!, echo) : null,
    ...(scored && count !== undefined && { prompt_logprobs: promptLogprobs(model, scored, count) }),
  };
}

/** One answer; each prompt has `n` of them. */
async function* textChoice(
  model: Model,
  plan: CompletionPlan,
  prompt: Prompt,
  index: number,
  signal: AbortSignal | undefined,
  costs: Costs,
): AsyncGenerator<CompletionChunk['choices'][number]> {
  const { options, isEchoed, n, seed } = plan;
  const { ids, echo, scored } = prompt;
  const { tokenizer } = model;
  const isNewPrompt = index % n === 0;
  if (scored) {
    const isWhole = options.maxTokens === 0;
    yield { index, ...echoed(model, plan, prompt), finish_reason: isWhole ? 'length' : null };
    if (isWhole) {
      costs.add({ ...NO_COST, usage: { ...NO_COST.usage, promptTokens: ids.length } }, isNewPrompt);
      return;
    }
  }
  const tokens = model.generate(ids, {
    ...options,
    seed: seed === undefined ? seed : seed + (index % n),
    signal,
  });
  const place = { offset: scored ? echo.length : 0 };
  let before = scored ? '' : echo;
  let given = 0;
  const piece = (text: string, token?: GeneratedToken, finish_reason: 'stop' | 'length' | null = null) => {
    const whole = before + text;
    place.offset += before.length;
    before = '';
    given += text.length;
    // Control tokens have no text in the answer. Where tokens of the prompt are told, all are: whoever counts them must find each.
    const isControl = token && tokenizer.specialIds.has(token.id);
    const isTold = token && options.logprobs !== undefined && (!isControl || (scored && isEchoed));
    const logprobs = isTold ? tokenLogprobs(model, token, place, isControl) : null;
    return { index, text: whole, finish_reason, logprobs };
  };
  let result: GenerateResult;
  try {
    let next = await tokens.next();
    for (; !next.done; next = await tokens.next()) yield piece(next.value.text, next.value);
    result = next.value;
  } finally {
    // A caller that stops listening does not want the rest.
    await tokens.return(undefined as never);
  }
  const { finishReason, usage, timings } = result;
  if (finishReason === 'abort') throw stopped(signal);
  // What this request has put into the cache itself was not there before.
  costs.add({ usage: scored ? { ...usage, cachedTokens: 0 } : usage, timings }, isNewPrompt);
  yield piece(result.text.slice(given), undefined, finishReason);
}

/** The token's own text. It may come one token later, when a character is complete. */
function tokenLogprobs(
  { tokenizer }: Model,
  { id, logprob, topLogprobs = [] }: GeneratedToken,
  place: { offset: number },
  isControl = false,
): CompletionLogprobs {
  const text = tokenizer.decode([id]);
  const top = topLogprobs.map((chance) => [tokenizer.decode([chance.id]), chance.logprob] as const);
  const text_offset = [place.offset];
  if (!isControl) place.offset += text.length;
  return {
    tokens: [text],
    token_logprobs: logprob === undefined ? [] : [logprob],
    // Of several tokens with the same text the likeliest comes first, and is kept.
    top_logprobs: [Object.fromEntries(top.toReversed())],
    text_offset,
  };
}

const now = (): number => Math.floor(Date.now() / 1000);

/** The same for the same weights on the same kind of device, where a seed gives the same answer. FNV-1a. */
function fingerprintOf({ architecture, weights, adapter, features }: Model['info']): string {
  let hash = 0x811c9dc5;
  for (const byte of new TextEncoder().encode(JSON.stringify([architecture, weights, adapter, features]))) {
    hash = Math.imul(hash ^ byte, 0x01000193);
  }
  return `fp_${(hash >>> 0).toString(16).padStart(8, '0')}`;
}
