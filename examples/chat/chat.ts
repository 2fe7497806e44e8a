/** @file The conversation on the page: asks the model, feeds the answer to its view, stops, regenerates, starts again. */
import type { ChatOptions, ChatResult, Model } from '../../src/index.ts';
import { createTurnView, type TurnView } from './answer-view.ts';
import { messagesFor, type Turn } from './conversation.ts';
import { make } from './dom.ts';
import { errorCard } from './notices.ts';

export interface ChatEvents {
  /** The model to ask, if there is one now. */
  model(): Model | undefined;
  systemPrompt(): string;
  options(): ChatOptions;
  /** Called at the start and the end of an answer, and when the number of turns changes. */
  onChange(): void;
  onResult(result: ChatResult): void;
}

export interface Chat {
  readonly numTurns: number;
  readonly isAnswering: boolean;
  ask(question: string): void;
  stop(): void;
  clear(): void;
  /** A line between two turns. */
  note(text: string): void;
}

/** @param list the element that turns are appended to */
export function createChat(list: HTMLElement, events: ChatEvents): Chat {
  let turns: Turn[] = [];
  let running: AbortController | undefined;

  async function answer(turn: Turn, view: TurnView): Promise<void> {
    const model = events.model();
    if (!model || running || turns.at(-1) !== turn) return;
    const mine = new AbortController();
    running = mine;
    turn.result = undefined;
    view.start();
    events.onChange();
    try {
      const messages = messagesFor(turns, turn, events.systemPrompt());
      const stream = model.chat(messages, { ...events.options(), signal: mine.signal });
      for await (const delta of stream) view.add(delta);
      turn.result = await stream.result;
      view.finish(turn.result);
      events.onResult(turn.result);
    } catch (error) {
      view.fail(errorCard(error, [wayOut(error, () => answer(turn, view))]));
    } finally {
      if (running === mine) running = undefined;
      events.onChange();
    }
  }

  function wayOut(error: unknown, retry: () => void) {
    const isFull = error instanceof Error && error.name === 'ContextLengthError';
    return isFull ? { label: 'New chat', run: clear } : { label: 'Try again', run: retry };
  }

  function stop(): void {
    running?.abort();
  }

  function clear(): void {
    stop();
    running = undefined; // the rest of the answer ends unseen; the model lets the next question wait for that
    turns = [];
    list.replaceChildren();
    events.onChange();
  }

  return {
    get numTurns() {
      return turns.length;
    },
    get isAnswering() {
      return running !== undefined;
    },
    ask(question) {
      const turn: Turn = { question, result: undefined };
      const view = createTurnView(question, () => void answer(turn, view));
      turns.push(turn);
      list.append(view.element);
      void answer(turn, view);
    },
    stop,
    clear,
    note(text) {
      if (list.lastElementChild?.matches('.chat-note')) list.lastElementChild.remove(); // nothing was said since
      list.append(make('p', { className: 'chat-note muted' }, text));
    },
  };
}
