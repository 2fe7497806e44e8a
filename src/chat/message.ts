/** @file Makes the message of an answer from its deltas. */
import type { AssistantMessage, ChatDelta, ToolCall } from './types.ts';

export interface MessageBuilder {
  add(delta: ChatDelta): void;
  /** The message so far. */
  build(): AssistantMessage;
}

export function createMessageBuilder(): MessageBuilder {
  const message: AssistantMessage = { role: 'assistant', content: '', reasoning_content: '' };
  const calls = new Map<number, ToolCall>();
  return {
    add({ reasoning = '', content = '', toolCalls = [], malformed, droppedCall }) {
      message.reasoning_content += reasoning;
      message.content += content;
      if (malformed) message.malformed = true;
      if (droppedCall !== undefined) calls.delete(droppedCall);
      for (const { index, id = '', type, function: piece } of toolCalls) {
        const call = calls.get(index);
        if (call) call.function.arguments += piece.arguments;
        else calls.set(index, { id, type, function: { name: '', ...piece } });
      }
    },
    build: () => (calls.size > 0 ? { ...message, tool_calls: [...calls.values()] } : { ...message }),
  };
}
