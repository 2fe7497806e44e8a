/** @file The settings sheet: system prompt and sampling. An empty field means the checkpoint's own value. */
import type { ChatOptions, SamplingDefaults } from '../../src/index.ts';
import { byId, make } from './dom.ts';

type Key = keyof SamplingDefaults | 'seed';

interface Field {
  key: Key;
  label: string;
  help: string;
  min: number;
  max?: number;
  step: number;
}

const FIELDS: readonly Field[] = [
  {
    key: 'temperature',
    label: 'Temperature',
    help: '0 always takes the likeliest token',
    min: 0,
    max: 5,
    step: 0.05,
  },
  { key: 'topK', label: 'Top-k', help: 'Only the k likeliest tokens; 0 is off', min: 0, step: 1 },
  {
    key: 'topP',
    label: 'Top-p',
    help: 'Only the likeliest that make up this share; 1 is off',
    min: 0,
    max: 1,
    step: 0.01,
  },
  {
    key: 'minP',
    label: 'Min-p',
    help: 'Only those at least this likely, relative to the best; 0 is off',
    min: 0,
    max: 1,
    step: 0.01,
  },
  {
    key: 'repetitionPenalty',
    label: 'Repetition penalty',
    help: 'Above 1 avoids tokens seen before',
    min: 0.1,
    max: 5,
    step: 0.05,
  },
  {
    key: 'presencePenalty',
    label: 'Presence penalty',
    help: 'Once for every token already in the answer',
    min: -2,
    max: 2,
    step: 0.1,
  },
  {
    key: 'frequencyPenalty',
    label: 'Frequency penalty',
    help: 'For each time a token is already in the answer',
    min: -2,
    max: 2,
    step: 0.1,
  },
  {
    key: 'seed',
    label: 'Seed',
    help: 'The same seed gives the same answer',
    min: 0,
    max: 2 ** 32 - 1,
    step: 1,
  },
  { key: 'maxTokens', label: 'Max tokens', help: 'Longest answer, thinking included', min: 1, step: 1 },
];

export interface Settings {
  /** What the reader changed; anything else is left to the checkpoint. */
  readonly chatOptions: Pick<ChatOptions, Key>;
  readonly systemPrompt: string;
  showDefaults(defaults: SamplingDefaults): void;
}

export function createSettings(): Settings {
  const dialog = byId('settings-dialog', HTMLDialogElement);
  const form = byId('settings-form', HTMLFormElement);
  const systemPrompt = byId('system-prompt', HTMLTextAreaElement);
  const inputs = new Map(FIELDS.map((field) => [field.key, numberInput(field)]));
  byId('sampling', HTMLFieldSetElement).append(...[...inputs.values()].map(({ element }) => element));
  byId('settings-button', HTMLButtonElement).addEventListener('click', () => dialog.showModal());
  form.addEventListener('submit', (event) => {
    event.preventDefault(); // Enter in a field
    dialog.close();
  });
  form.addEventListener('reset', () => setTimeout(() => inputs.forEach((input) => void input.check())));

  return {
    get chatOptions() {
      const changed = [...inputs].flatMap(([key, { input }]) =>
        input.value !== '' && input.checkValidity() ? [[key, input.valueAsNumber] as const] : [],
      );
      return Object.fromEntries(changed);
    },
    get systemPrompt() {
      return systemPrompt.value.trim();
    },
    showDefaults(defaults) {
      for (const [key, { input }] of inputs) input.placeholder = placeholder(key, defaults);
    },
  };
}

function placeholder(key: Key, defaults: SamplingDefaults): string {
  if (key === 'seed') return 'random';
  return String(defaults[key] ?? 'as long as it fits');
}

function numberInput({ key, label, help, min, max, step }: Field) {
  const input = make('input', { type: 'number', inputMode: 'decimal', name: key });
  Object.assign(input, { min: String(min), max: max === undefined ? '' : String(max), step: String(step) });
  const note = make('small', { id: `${key}-help`, className: 'muted' }, help);
  input.setAttribute('aria-describedby', note.id);
  const check = () => {
    const isUsable = input.checkValidity();
    input.ariaInvalid = String(!isUsable);
    note.textContent = isUsable ? help : `Not used: ${input.validationMessage}`;
  };
  input.addEventListener('input', check);
  return {
    input,
    check,
    element: make('label', { className: 'field' }, make('span', {}, label), input, note),
  };
}
