/** @file The panel with what a model thinks before it answers: open while it streams, then folded, with its duration. */
import { make } from './dom.ts';
import { formatDuration } from './format.ts';

export interface ThinkingPanel {
  readonly element: HTMLDetailsElement;
  append(text: string): void;
  /** Shows the duration and folds the panel, unless the reader has opened or closed it. */
  finish(): void;
}

export function createThinkingPanel(): ThinkingPanel {
  const started = performance.now();
  const label = make('span', { className: 'thinking-label' }, 'Thinking…');
  const summary = make('summary', {}, label);
  const thoughts = make('div', { className: 'thoughts', tabIndex: 0, ariaLabel: 'Thoughts' });
  thoughts.setAttribute('role', 'region');
  const element = make('details', { className: 'thinking is-running', open: true, ariaLabel: 'Thinking' });
  element.append(summary, thoughts);
  let isTouched = false;
  let isRunning = true;
  summary.addEventListener('click', () => {
    isTouched = true;
  });

  return {
    element,
    append(text) {
      const isAtEnd = thoughts.scrollTop + thoughts.clientHeight >= thoughts.scrollHeight - 8;
      // Models open their thoughts with line breaks, which would show as an empty line.
      thoughts.append(thoughts.textContent === '' ? text.trimStart() : text);
      if (isAtEnd) thoughts.scrollTop = thoughts.scrollHeight;
    },
    finish() {
      if (!isRunning) return;
      isRunning = false;
      label.textContent = `Thought for ${formatDuration(performance.now() - started)}`;
      element.classList.remove('is-running');
      if (!isTouched) element.open = false;
    },
  };
}
