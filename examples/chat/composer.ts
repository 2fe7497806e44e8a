/** @file Where a question is written and sent, an answer is stopped, and thinking is switched. */
import { byId } from './dom.ts';

export interface Composer {
  readonly isThinking: boolean;
  /** What can be done now. */
  setState(state: 'unavailable' | 'idle' | 'answering'): void;
  showThinkingSwitch(isShown: boolean): void;
  /** Writes a question for the reader, and sends it if a model is there to answer. */
  write(question: string): void;
  focus(): void;
}

export function createComposer(onAsk: (question: string) => void, onStop: () => void): Composer {
  const form = byId('composer', HTMLFormElement);
  const input = byId('question', HTMLTextAreaElement);
  const send = byId('send', HTMLButtonElement);
  const stop = byId('stop', HTMLButtonElement);
  const thinking = byId('thinking', HTMLButtonElement);
  let state: Parameters<Composer['setState']>[0] = 'unavailable';

  const refresh = () => {
    const hasFocus = document.activeElement === send || document.activeElement === stop;
    send.hidden = state === 'answering';
    stop.hidden = !send.hidden;
    send.disabled = state === 'unavailable' || input.value.trim() === '';
    if (hasFocus) focus(); // the button that had the focus is gone
  };
  const focus = () => {
    if (matchMedia('(pointer: fine)').matches) input.focus(); // elsewhere it would open the keyboard over the page
  };
  const fit = () => {
    input.style.height = 'auto';
    input.style.height = `${input.scrollHeight}px`;
  };

  input.addEventListener('input', () => {
    fit();
    refresh();
  });
  input.addEventListener('keydown', (event) => {
    if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    if (!send.disabled && !send.hidden) form.requestSubmit();
  });
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    const question = input.value.trim();
    if (question === '' || state !== 'idle') return;
    input.value = '';
    fit();
    onAsk(question);
  });
  stop.addEventListener('click', onStop);
  addEventListener('keydown', (event) => {
    if (event.key === 'Escape' && state === 'answering' && !document.querySelector('dialog[open]')) onStop();
  });
  thinking.addEventListener('click', () => {
    thinking.ariaChecked = String(thinking.ariaChecked !== 'true');
  });

  return {
    get isThinking() {
      return thinking.ariaChecked === 'true';
    },
    setState(next) {
      state = next;
      refresh();
    },
    showThinkingSwitch(isShown) {
      thinking.hidden = !isShown;
    },
    write(question) {
      input.value = question;
      fit();
      refresh();
      form.requestSubmit();
    },
    focus,
  };
}
