/** @file What was said: turns, and the messages that they make for the model. Pure; knows no DOM. */
import type { ChatMessage, ChatResult } from '../../src/index.ts';

export interface Turn {
  readonly question: string;
  /** Undefined while the answer is being written, and when it failed. */
  result: ChatResult | undefined;
}

/**
 * The messages that ask for an answer to `turn`. A turn that was stopped before any answer text, or failed, is left out:
 * templates want questions and answers to alternate, and an empty answer would teach the model to say nothing.
 */
export function messagesFor(turns: readonly Turn[], turn: Turn, systemPrompt: string): ChatMessage[] {
  const messages: ChatMessage[] = systemPrompt === '' ? [] : [{ role: 'system', content: systemPrompt }];
  for (const earlier of turns.slice(0, turns.indexOf(turn))) {
    if (!isAnswered(earlier.result)) continue;
    messages.push({ role: 'user', content: earlier.question }, earlier.result.message);
  }
  messages.push({ role: 'user', content: turn.question });
  return messages;
}

/** Whether there is answer text that later turns can refer to. */
export function isAnswered(result: ChatResult | undefined): result is ChatResult {
  return result !== undefined && result.message.content.trim() !== '';
}
