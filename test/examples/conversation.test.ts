/** @file What the chat page sends to the model, and how it writes numbers. */
import { describe, expect, test } from 'vitest';
import { messagesFor, type Turn } from '../../examples/chat/conversation.ts';
import { formatBytes, formatDuration, formatNumber, formatSeconds } from '../../examples/chat/format.ts';
import type { ChatResult, FinishReason } from '../../src/index.ts';

function answered(question: string, content: string, finishReason: FinishReason = 'stop'): Turn {
  const result: ChatResult = {
    message: { role: 'assistant', content, reasoning_content: 'hm' },
    finishReason,
    usage: {
      promptTokens: 1,
      cachedTokens: 0,
      completionTokens: 1,
      reasoningTokens: 0,
      draftTokens: 0,
      acceptedTokens: 0,
    },
    timings: { timeToFirstToken: 1, prefillTokensPerSecond: 1, decodeTokensPerSecond: 1, tokensPerStep: 1 },
  };
  return { question, result };
}

describe('the messages of a conversation', () => {
  const open = (question: string): Turn => ({ question, result: undefined });
  const texts = (turns: Turn[], turn: Turn, system = '') =>
    messagesFor(turns, turn, system).map(({ role, content }) => `${role}: ${content}`);

  test('hold the earlier turns in order, with their thinking, and the question last', () => {
    const turns = [answered('a?', 'A'), answered('b?', 'B'), open('c?')];
    expect(texts(turns, turns[2]!)).toEqual([
      'user: a?',
      'assistant: A',
      'user: b?',
      'assistant: B',
      'user: c?',
    ]);
    expect(messagesFor(turns, turns[2]!, '')[1]).toMatchObject({ reasoning_content: 'hm' });
  });

  test('begin with the system prompt when there is one', () => {
    const turn = open('a?');
    expect(texts([turn], turn, 'Be brief.')).toEqual(['system: Be brief.', 'user: a?']);
  });

  test('keep an answer that was stopped in the middle', () => {
    const turns = [answered('a?', 'Half', 'abort'), open('b?')];
    expect(texts(turns, turns[1]!)).toEqual(['user: a?', 'assistant: Half', 'user: b?']);
  });

  test('leave out a turn that failed or was stopped before its answer', () => {
    const turns = [open('a?'), answered('b?', ' \n', 'abort'), answered('c?', 'C'), open('d?')];
    expect(texts(turns, turns[3]!)).toEqual(['user: c?', 'assistant: C', 'user: d?']);
  });

  test('do not hold the answer that is being regenerated', () => {
    const turns = [answered('a?', 'A'), answered('b?', 'B')];
    expect(texts(turns, turns[1]!)).toEqual(['user: a?', 'assistant: A', 'user: b?']);
  });
});

describe('numbers for readers', () => {
  test.each([
    [0, '0 bytes'],
    [999, '999 bytes'],
    [1000, '1 kB'],
    [2_621_440, '2.62 MB'],
    [311e6, '311 MB'],
    [1.5e9, '1.5 GB'],
    [2.5e15, '2,500 TB'],
  ])('%d bytes read as %s', (bytes, text) => expect(formatBytes(bytes)).toBe(text));

  test.each([
    [85.4, '85 ms'],
    [999.6, '1.0 s'],
    [12_340, '12.3 s'],
    [59_960, '1 min 0 s'],
    [125_000, '2 min 5 s'],
  ])('%d ms read as %s', (milliseconds, text) => expect(formatDuration(milliseconds)).toBe(text));

  test.each([
    [0, '0 s'],
    [59.4, '59 s'],
    [61, '1 min 1 s'],
    [3720, '1 h 2 min'],
  ])('%d seconds left read as %s', (seconds, text) => expect(formatSeconds(seconds)).toBe(text));

  test.each([
    [3.456, '3.46'],
    [34.56, '34.6'],
    [345.6, '346'],
    [1234, '1,234'],
  ])('%d reads as %s', (value, text) => expect(formatNumber(value)).toBe(text));
});
