/** @file Errors in friendly words: what happened as a title, the library's own message with what to do next, and buttons. */
import { make } from './dom.ts';

const TITLES: Readonly<Record<string, string>> = {
  WebGPUUnavailableError: 'WebGPU is not available here',
  DeviceLimitError: 'This GPU is too small for the model',
  DeviceLostError: 'The GPU went away',
  ShaderCompileError: 'A GPU kernel did not compile',
  UnknownArchitectureError: 'This kind of model is not supported yet',
  UnsupportedConfigError: 'This checkpoint asks for something that is not supported yet',
  MissingWeightError: 'The checkpoint is incomplete',
  WeightMismatchError: 'The checkpoint contradicts itself',
  CorruptCheckpointError: 'The checkpoint is damaged',
  SourceError: 'The checkpoint could not be read',
  InvalidInputError: 'That cannot be used',
  ContextLengthError: 'The conversation has outgrown the model’s context',
  NumericalError: 'The model computed something that is not a number',
  ModelStateError: 'The model is not ready',
  TokenizerError: 'The tokenizer cannot be used',
  ChatTemplateError: 'The chat template cannot be used',
};

export interface NoticeAction {
  label: string;
  run: () => void;
}

/** A card that shows an error. Every action removes the card before it runs. */
export function errorCard(error: unknown, actions: readonly NoticeAction[]): HTMLElement {
  const { name, message } = error instanceof Error ? error : { name: '', message: String(error) };
  return noticeCard(TITLES[name] ?? 'Something went wrong', message, actions);
}

/** A card that a screen reader announces at once. */
export function noticeCard(title: string, text: string, actions: readonly NoticeAction[]): HTMLElement {
  const card = make('section', { className: 'card notice', role: 'alert' });
  const buttons = actions.map(({ label, run }) => {
    const button = make('button', { type: 'button', className: 'button small' }, label);
    button.addEventListener('click', () => {
      card.remove();
      run();
    });
    return button;
  });
  card.append(
    make('strong', {}, title),
    make('p', {}, text),
    make('div', { className: 'notice-actions' }, ...buttons),
  );
  return card;
}
