/**
 * @file Cuts a stream of text into reasoning, content and tool calls, and ends it at stop texts. However the stream was cut into
 * chunks, its deltas make the same message. Knows text only, no tokens and no model.
 *
 * Rules (as vLLM's Qwen3 and DeepSeek-R1 parsers): a leading opening tag is dropped; with thinking on, everything up to the
 * first closing tag is reasoning, also when the tag never comes; with thinking off, text without a leading opening tag is content.
 * Calls and stop texts are looked for in content only. White space around calls is layout and dropped.
 */
import { createReader, Mismatch, type Reading } from './reader.ts';
import { type ReasoningFormat, reasoningFormats } from './reasoning-formats.ts';
import type { ToolFormat } from './tool-formats.ts';
import type { ChatDelta, ToolDefinition } from './types.ts';

/**
 * `open`: the prompt ends inside a think block. `closed`: it ends after one, or the model does not think.
 * `ask`: the model decides by writing the opening tag first.
 */
export type ReasoningStart = 'open' | 'closed' | 'ask';

export interface MessageParserOptions {
  start: ReasoningStart;
  /** Default: in `<think>`. */
  reasoning?: ReasoningFormat;
  /** A stop text inside reasoning or a tool call does not end the answer. */
  stop?: readonly string[];
  /** `isSingle`: the first call ends the answer. */
  tools?: { format: ToolFormat; definitions: readonly ToolDefinition[]; isSingle?: boolean };
}

type Tools = NonNullable<MessageParserOptions['tools']>;

export class MessageParser {
  /** How the model writes its thinking; undefined where the text begins after it. */
  readonly reasoning: ReasoningFormat | undefined;
  readonly #start: ReasoningStart;
  readonly #format: ReasoningFormat;
  readonly #stop: readonly string[];
  readonly #tools: Tools | undefined;
  readonly #reader = createReader();
  readonly #reading: Reading;
  #isRead = false;
  #deltas: ChatDelta[] = [];
  #isStopped = false;
  #isReasoning: boolean;
  #numCalls = 0;

  constructor({ start, reasoning = reasoningFormats.think, stop = [], tools }: MessageParserOptions) {
    this.reasoning = start === 'closed' ? undefined : reasoning;
    this.#start = start;
    this.#format = reasoning;
    this.#stop = stop;
    this.#tools = tools;
    this.#isReasoning = start === 'open';
    this.#reading = this.#message();
  }

  /** A stop text was met; nothing after it is given out. */
  get isStopped(): boolean {
    return this.#isStopped;
  }

  get isReasoning(): boolean {
    return this.#isReasoning;
  }

  /** The deltas that the new text completes; text that may still become a tag or a stop text is held back. */
  push(text: string): ChatDelta[] {
    this.#reader.push(text);
    return this.#read();
  }

  /** What was held back, at the end of the stream. */
  end(): ChatDelta[] {
    this.#reader.end();
    return this.#read();
  }

  #read(): ChatDelta[] {
    if (!this.#isRead) this.#isRead = this.#reading.next().done === true;
    const given = this.#deltas;
    this.#deltas = [];
    return given;
  }

  #add(delta: { reasoning: string } | { content: string }): void {
    if (Object.values(delta)[0] !== '') this.#deltas.push(delta);
  }

  *#message(): Reading {
    const reader = this.#reader;
    const { open } = this.#format;
    if (this.#start === 'ask') {
      for (;;) {
        const text = reader.held.replace(/^\s+/, '');
        this.#isReasoning = text.startsWith(open);
        if (this.#isReasoning) reader.take(reader.held.length - text.length + open.length);
        if (this.#isReasoning || reader.isEnd || !open.startsWith(text)) break;
        yield;
      }
    }
    if (this.#isReasoning) yield* this.#thinking();
    yield* this.#content();
  }

  /** Reasoning begins and ends without the line breaks around the tags, content begins without those after the block. */
  *#thinking(): Reading {
    const { close } = this.#format;
    let isBegun = false;
    let breaks = '';
    const end = yield* this.#reader.until([close], (piece) => {
      const text = isBegun ? breaks + piece : piece.replace(/^\n+/, '');
      const length = text.replace(/\n+$/, '').length;
      isBegun ||= text !== '';
      breaks = text.slice(length);
      this.#add({ reasoning: text.slice(0, length) });
    });
    if (end === undefined) return;
    this.#isReasoning = false;
    this.#reader.take(close.length);
    yield* this.#reader.upTo(/[^\n]/);
  }

  *#content(): Reading {
    const tools = this.#tools;
    // Of two stop texts that begin alike, the shorter one ends the answer first.
    const stops = [...this.#stop].sort((a, b) => a.length - b.length);
    const { opens = [], close } = tools?.format ?? {};
    const words = [...stops, ...opens, ...(close ? [close] : [])];
    let layout = '';
    let isBehindCall = false;
    const say = (piece: string): void => {
      const text = layout + piece;
      const length = tools ? text.trimEnd().length : text.length;
      layout = text.slice(length);
      if (length > 0) isBehindCall = false;
      this.#add({ content: text.slice(0, length) });
    };
    for (;;) {
      const word = yield* this.#reader.until(words, say);
      if (!tools || word === undefined || stops.includes(word)) {
        if (!isBehindCall) this.#add({ content: layout });
        this.#isStopped = word !== undefined;
        return;
      }
      if (word === close) {
        this.#reader.take(close.length);
        if (!isBehindCall) say(close);
        continue;
      }
      const malformed = yield* this.#call(tools);
      isBehindCall = !malformed;
      this.#isStopped = isBehindCall && tools.isSingle === true;
      if (this.#isStopped) return;
      if (malformed) this.#deltas.push({ ...malformed, content: layout + malformed.content });
      layout = '';
    }
  }

  /** Reads a call. If it is malformed, returns the text that was read. */
  *#call({ format, definitions }: Tools): Reading<ChatDelta | undefined> {
    const reader = this.#reader;
    let index: number | undefined;
    // The last brace is given out at the end of the call, so that arguments never look complete before.
    let brace = '';
    const sink = {
      start: (name: string): void => {
        index = this.#numCalls++;
        const id = `call_${crypto.randomUUID().replaceAll('-', '').slice(0, 24)}`;
        this.#deltas.push({
          toolCalls: [{ index, id, type: 'function', function: { name, arguments: '' } }],
        });
      },
      give: (text: string): void => {
        const all = brace + text;
        brace = all.endsWith('}') ? '}' : '';
        this.#addArguments(index!, all.slice(0, all.length - brace.length));
      },
    };
    reader.mark();
    try {
      yield* format.call(reader, sink, definitions);
      this.#addArguments(index!, brace);
      return undefined;
    } catch (error) {
      if (!(error instanceof Mismatch)) throw error;
      return {
        content: reader.taken,
        malformed: true,
        ...(index === undefined ? {} : { droppedCall: index }),
      };
    }
  }

  #addArguments(index: number, text: string): void {
    const last = this.#deltas.at(-1)?.toolCalls?.[0];
    if (last) last.function.arguments += text;
    else if (text) {
      this.#deltas.push({ toolCalls: [{ index, type: 'function', function: { arguments: text } }] });
    }
  }
}
