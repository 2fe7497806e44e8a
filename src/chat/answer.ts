/**
 * @file The tokens of an answer and their text: asks the session, turns its tokens into deltas, and ends the thinking when
 * its budget is spent. Knows no messages and no template.
 */
import type { DecodeStream, Tokenizer } from '../../tokenizer/index.ts';
import type { Logprob, Session, TokenOptions, TokenResult } from '../runtime/generate/session.ts';
import type { Timings, Usage } from '../runtime/types.ts';
import type { AnswerConstraint } from './constrained.ts';
import { createLogprobs, type Logprobs } from './logprobs.ts';
import type { MessageParser } from './message-parser.ts';
import type { ReasoningFormat } from './reasoning-formats.ts';
import type { ChatDelta } from './types.ts';

export interface AnswerOptions extends Omit<TokenOptions, 'accept' | 'force' | 'mask' | 'numAnswered'> {
  stopTokens: ReadonlySet<number>;
  thinkingBudget?: number;
  constraint?: AnswerConstraint | undefined;
}

/** From tokens to text, and from text to deltas. */
export class Answer {
  /** The tokens, including those that were put in to end the thinking. Iterate once. */
  readonly tokens: AsyncGenerator<number, TokenResult>;
  readonly #tokenizer: Tokenizer;
  readonly #parser: MessageParser;
  readonly #numPrompt: number;
  readonly #stopTokens: ReadonlySet<number>;
  readonly #thinkingBudget: number;
  readonly #constraint: AnswerConstraint | undefined;
  readonly #logprobs: Logprobs | undefined;
  readonly #decoder: DecodeStream;
  /** The tags of thinking that are control tokens, whose text the decoder leaves out. */
  readonly #tags: ReadonlyMap<number, string>;
  #deltas: ChatDelta[] = [];
  #logprob: Logprob | undefined;
  #numTokens = 0;
  #numReasoningTokens = 0;
  /** The budget of thinking is spent: the end of the thinking is put in next. */
  #isCut = false;
  /** Of each token that is known and not yet taken. */
  readonly #untaken: { deltas: ChatDelta[]; logprob: Logprob | undefined }[] = [];

  constructor(
    session: Pick<Session, 'generate'>,
    tokenizer: Tokenizer,
    parser: MessageParser,
    prompt: readonly number[],
    { stopTokens, thinkingBudget = Number.POSITIVE_INFINITY, constraint, ...tokenOptions }: AnswerOptions,
  ) {
    this.#tokenizer = tokenizer;
    this.#parser = parser;
    this.#numPrompt = prompt.length;
    this.#stopTokens = stopTokens;
    this.#thinkingBudget = thinkingBudget;
    this.#constraint = constraint;
    this.#logprobs = tokenOptions.logprobs === undefined ? undefined : createLogprobs(tokenizer);
    this.#decoder = tokenizer.createStream({ skipSpecial: true });
    this.#tags = controlTags(tokenizer, parser.reasoning);
    const sampled = session.generate(prompt, {
      ...tokenOptions,
      mask: constraint?.mask,
      accept: (id, logprob) => this.#accept(id, logprob),
      force: () => (this.#isCut ? this.#endOfThinking() : undefined),
    });
    this.tokens = this.#taken(sampled);
  }

  /** With `logprobs`: the logprob of the last token, if the model chose it. */
  get logprob(): Logprob | undefined {
    return this.#logprob;
  }

  /** Deltas since the last call. */
  take(): ChatDelta[] {
    const taken = this.#deltas;
    this.#deltas = [];
    return taken;
  }

  /** Releases the text that was held back. */
  end(): void {
    const fresh = [...this.#parser.push(this.#decoder.flush()), ...this.#parser.end()];
    this.#logprobs?.end(fresh);
    this.#deltas.push(...fresh);
  }

  /** What the answer cost; `result` is what its tokens ended with. */
  figures(result: TokenResult): { usage: Usage; timings: Timings } {
    const { cachedTokens, draftTokens, acceptedTokens, numSteps, prefillTime, decodeTime } = result;
    // The first token comes out of the prefill.
    const decoded = Math.max(0, this.#numTokens - 1);
    const perSecond = (count: number, milliseconds: number): number =>
      milliseconds > 0 ? (count * 1000) / milliseconds : 0;
    return {
      usage: {
        promptTokens: this.#numPrompt,
        cachedTokens,
        completionTokens: this.#numTokens,
        reasoningTokens: this.#numReasoningTokens,
        draftTokens,
        acceptedTokens,
      },
      timings: {
        timeToFirstToken: prefillTime,
        prefillTokensPerSecond: perSecond(this.#numPrompt - cachedTokens, prefillTime),
        decodeTokensPerSecond: perSecond(decoded, decodeTime),
        tokensPerStep: numSteps > 0 ? decoded / numSteps : 1,
      },
    };
  }

  /** Takes a token; false ends the answer, or is where the end of the thinking is put in. */
  #accept(id: number, logprob: Logprob | undefined): boolean {
    const goesOn = this.#read(id, logprob);
    const isSpent = this.#parser.isReasoning && this.#numReasoningTokens >= this.#thinkingBudget;
    this.#isCut = goesOn && isSpent;
    return goesOn && !this.#isCut;
  }

  /** False: the answer is over. */
  #read(id: number, logprob: Logprob | undefined): boolean {
    const parser = this.#parser;
    this.#numTokens++;
    const known: { deltas: ChatDelta[]; logprob: Logprob | undefined } = { deltas: [], logprob };
    this.#untaken.push(known);
    if (this.#stopTokens.has(id)) return false;
    const wasReasoning = parser.isReasoning;
    const fresh = parser.push(this.#textOf(id));
    const isReasoning = wasReasoning || parser.isReasoning;
    if (logprob) this.#logprobs?.add(id, logprob, fresh, isReasoning);
    known.deltas = fresh;
    if (isReasoning) this.#numReasoningTokens++;
    this.#constraint?.accept(id, parser.isReasoning);
    return !parser.isStopped && !this.#constraint?.isDone;
  }

  #textOf(id: number): string {
    const tag = this.#tags.get(id);
    return tag === undefined ? this.#decoder.push(id) : this.#decoder.flush() + tag;
  }

  #endOfThinking(): readonly number[] {
    const { closeSpent, closeEmpty } = this.#parser.reasoning!;
    const text = this.#thinkingBudget > 0 ? closeSpent : closeEmpty;
    return Array.from(this.#tokenizer.encode(text, { addBos: false }));
  }

  /** The tokens, with what each brought when it is taken: more of them may be known already. */
  async *#taken(sampled: AsyncGenerator<number, TokenResult>): AsyncGenerator<number, TokenResult> {
    try {
      for (;;) {
        const { done, value } = await sampled.next();
        if (done) return value;
        const known = this.#untaken.shift()!;
        this.#deltas.push(...known.deltas);
        this.#logprob = known.logprob;
        yield value;
      }
    } finally {
      await sampled.return(undefined as never);
    }
  }
}

function controlTags(tokenizer: Tokenizer, reasoning: ReasoningFormat | undefined): Map<number, string> {
  const tags = new Map<number, string>();
  for (const tag of reasoning ? [reasoning.open, reasoning.close] : []) {
    const id = tokenizer.tokenToId(tag);
    if (id !== undefined && tokenizer.specialIds.has(id)) tags.set(id, tag);
  }
  return tags;
}
