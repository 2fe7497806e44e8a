/**
 * @file Cuts a stream of text into reasoning, content and tool calls, and ends it at stop texts. Incremental: the message
 * that its deltas make does not depend on how the stream was chunked. Knows text only, no tokens and no model.
 *
 * Rules (as vLLM's Qwen3 and DeepSeek-R1 parsers): a leading `<think>` is dropped; with thinking on, everything up to the
 * first `</think>` is reasoning, also when the tag never comes; with thinking off, text without a leading `<think>` is content.
 * Calls and stop texts are looked for in content only. White space around calls is layout and dropped.
 */
import { createReader, Mismatch, type Reading } from './reader.ts';
import type { ToolFormat } from './tool-formats.ts';
import type { ChatDelta, ToolDefinition } from './types.ts';

const OPEN = '<think>';
const CLOSE = '</think>';

export interface MessageParser {
  /** What the new text completes; text that may become a tag or a stop is held back. */
  push(text: string): ChatDelta[];
  /** What was held back, at the end of the stream. */
  end(): ChatDelta[];
  /** Whether a stop text was met; nothing after it is given out. */
  readonly isStopped: boolean;
  readonly isReasoning: boolean;
}

/**
 * `open`: the prompt ends inside a think block. `closed`: it ends behind one, or the model does not think.
 * `ask`: the model decides by writing `<think>` first.
 */
export type ReasoningStart = 'open' | 'closed' | 'ask';

export interface MessageParserOptions {
  start: ReasoningStart;
  /** A stop text inside reasoning or a tool call does not end the answer. */
  stop?: readonly string[];
  /** `isSingle`: the first call ends the answer. */
  tools?: { format: ToolFormat; definitions: readonly ToolDefinition[]; isSingle?: boolean };
}

export function createMessageParser({ start, stop = [], tools }: MessageParserOptions): MessageParser {
  const reader = createReader();
  let deltas: ChatDelta[] = [];
  let [isStopped, isReasoning] = [false, start === 'open'];
  let numCalls = 0;

  function* message(): Reading {
    if (start === 'ask') {
      for (;;) {
        const text = reader.held.replace(/^\s+/, '');
        isReasoning = text.startsWith(OPEN);
        if (isReasoning) reader.take(reader.held.length - text.length + OPEN.length);
        if (isReasoning || reader.isEnd || !OPEN.startsWith(text)) break;
        yield;
      }
    }
    if (isReasoning) yield* reasoning();
    yield* content();
  }

  /** Reasoning begins and ends without the line breaks around the tags, content without those behind the block. */
  function* reasoning(): Reading {
    let isBegun = false;
    let breaks = '';
    const end = yield* reader.until([CLOSE], (piece) => {
      const text = isBegun ? breaks + piece : piece.replace(/^\n+/, '');
      const length = text.replace(/\n+$/, '').length;
      isBegun ||= text !== '';
      breaks = text.slice(length);
      add({ reasoning: text.slice(0, length) });
    });
    if (end === undefined) return;
    isReasoning = false;
    reader.take(CLOSE.length);
    yield* reader.upTo(/[^\n]/);
  }

  function* content(): Reading {
    // The shorter of two stop texts that begin alike ends the answer first.
    const stops = [...stop].sort((a, b) => a.length - b.length);
    const { opens = [], close } = tools?.format ?? {};
    const words = [...stops, ...opens, ...(close ? [close] : [])];
    let layout = '';
    let isBehindCall = false;
    const say = (piece: string): void => {
      const text = layout + piece;
      const length = tools ? text.trimEnd().length : text.length;
      layout = text.slice(length);
      if (length > 0) isBehindCall = false;
      add({ content: text.slice(0, length) });
    };
    for (;;) {
      const word = yield* reader.until(words, say);
      if (!tools || word === undefined || stops.includes(word)) {
        if (!isBehindCall) add({ content: layout });
        isStopped = word !== undefined;
        return;
      }
      if (word === close) {
        reader.take(close.length);
        if (!isBehindCall) say(close);
        continue;
      }
      const malformed = yield* call(tools);
      isBehindCall = !malformed;
      isStopped = isBehindCall && tools.isSingle === true;
      if (isStopped) return;
      if (malformed) deltas.push({ ...malformed, content: layout + malformed.content });
      layout = '';
    }
  }

  /** Reads a call; where it is malformed, gives what was read of it. */
  function* call({ format, definitions }: NonNullable<typeof tools>): Reading<ChatDelta | undefined> {
    let index: number | undefined;
    // The last brace comes with the end of the call: before, nobody may take the arguments for whole.
    let brace = '';
    const sink = {
      start(name: string): void {
        index = numCalls++;
        const id = `call_${crypto.randomUUID().replaceAll('-', '').slice(0, 24)}`;
        deltas.push({ toolCalls: [{ index, id, type: 'function', function: { name, arguments: '' } }] });
      },
      give(text: string): void {
        const all = brace + text;
        brace = all.endsWith('}') ? '}' : '';
        put(all.slice(0, all.length - brace.length));
      },
    };
    const put = (text: string): void => {
      const last = deltas.at(-1)?.toolCalls?.[0];
      if (last) last.function.arguments += text;
      else if (text) {
        deltas.push({ toolCalls: [{ index: index!, type: 'function', function: { arguments: text } }] });
      }
    };
    reader.mark();
    try {
      yield* format.call(reader, sink, definitions);
      put(brace);
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

  function add(delta: { reasoning: string } | { content: string }): void {
    if (Object.values(delta)[0] !== '') deltas.push(delta);
  }

  const reading = message();
  let isDone = false;
  function run(): ChatDelta[] {
    if (!isDone) isDone = reading.next().done === true;
    const given = deltas;
    deltas = [];
    return given;
  }

  return {
    push(text) {
      reader.push(text);
      return run();
    },
    end() {
      reader.end();
      return run();
    },
    get isStopped() {
      return isStopped;
    },
    get isReasoning() {
      return isReasoning;
    },
  };
}
