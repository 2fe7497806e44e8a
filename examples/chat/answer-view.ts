/**
 * @file One question with its answer on the page: the thinking panel, the streamed markdown, how it ended, and what can be done
 * with it. It gets what comes; it knows no model.
 */
import type { ChatDelta, ChatResult } from '../../src/index.ts';
import { isAnswered } from './conversation.ts';
import { make } from './dom.ts';
import { formatNumber } from './format.ts';
import { copyButton, type MarkdownStream, streamMarkdown } from './markdown.ts';
import { createThinkingPanel, type ThinkingPanel } from './thinking-panel.ts';

export interface TurnView {
  readonly element: HTMLElement;
  /** An empty answer, replacing an earlier one. */
  start(): void;
  add(delta: ChatDelta): void;
  finish(result: ChatResult): void;
  /** Ends the answer with a card that says what went wrong. */
  fail(card: HTMLElement): void;
}

export function createTurnView(question: string, onRegenerate: () => void): TurnView {
  const answer = make('article', { className: 'answer', ariaLabel: 'Answer' });
  const element = make(
    'div',
    { className: 'turn' },
    make('article', { className: 'question', ariaLabel: 'Question' }, question),
    answer,
  );
  let thinking: ThinkingPanel | undefined;
  let markdown: MarkdownStream | undefined;
  let waiting: HTMLElement | undefined;
  let reasoning = '';
  let content = '';
  let frame = 0;

  /** Shows everything that came since the last frame: the page must not be laid out once per token of a fast model. */
  function flush(): void {
    cancelAnimationFrame(frame);
    frame = 0;
    if (reasoning.trim() !== '' || (thinking && reasoning !== '')) {
      if (!thinking) {
        thinking = createThinkingPanel();
        answer.append(thinking.element);
      }
      thinking.append(reasoning);
      reasoning = '';
    }
    if (content.trim() !== '' || (markdown && content !== '')) {
      thinking?.finish();
      if (!markdown) {
        const prose = make('div', { className: 'prose' });
        markdown = streamMarkdown(prose);
        answer.append(prose);
      }
      markdown.append(content);
      content = '';
    }
    if (thinking || markdown) waiting?.remove();
  }

  function end(): void {
    flush();
    waiting?.remove();
    thinking?.finish();
    markdown?.finish();
    answer.ariaBusy = 'false'; // now a screen reader reads the answer
  }

  return {
    element,
    start() {
      thinking = undefined;
      markdown = undefined;
      reasoning = '';
      content = '';
      waiting = make('p', { className: 'waiting', ariaLabel: 'Waiting for the first word' });
      waiting.setAttribute('role', 'img');
      answer.replaceChildren(waiting);
      answer.ariaBusy = 'true';
    },
    add(delta) {
      reasoning += delta.reasoning ?? '';
      content += delta.content ?? '';
      frame ||= requestAnimationFrame(flush);
    },
    finish(result) {
      end();
      answer.append(answerFoot(result, onRegenerate));
    },
    fail(card) {
      end();
      answer.append(card);
    },
  };
}

function answerFoot(result: ChatResult, onRegenerate: () => void): HTMLElement {
  const foot = make('footer', { className: 'answer-foot' });
  if (isAnswered(result)) foot.append(copyButton('Copy answer', () => result.message.content));
  const again = make('button', { type: 'button', className: 'button quiet small regenerate' }, 'Regenerate');
  again.addEventListener('click', onRegenerate);
  const { completionTokens, promptTokens, cachedTokens } = result.usage;
  const parts = [
    describeEnding(result),
    completionTokens > 0 ? `${formatNumber(completionTokens)} tokens` : '',
  ];
  const note = make('span', { className: 'muted' }, parts.filter(Boolean).join(' · '));
  note.title = `The prompt had ${promptTokens} tokens, ${cachedTokens} of them were still in memory.`;
  foot.append(again, note);
  return foot;
}

function describeEnding(result: ChatResult): string {
  switch (result.finishReason) {
    case 'stop':
    case 'tool_calls':
      return '';
    case 'length':
      return 'Ended at the limit of tokens';
    case 'abort':
      return isAnswered(result)
        ? 'Stopped'
        : 'Stopped before an answer, so the next question does not see this one';
    default:
      return result.finishReason satisfies never;
  }
}
