/** @file What an empty conversation shows: questions to begin with. */
import { byId, make } from './dom.ts';

/** What a model of 1.3 million parameters can do. */
const TINY_PROMPTS = [
  'What is 27 + 58?',
  'Sort these numbers: 42, 7, 88, 19.',
  'What is the capital of Norway?',
  'Spell basket backwards.',
  'Tell me a story about a fox.',
  'How many r are in the word strawberry?',
];

const PROMPTS = [
  'Explain how a transformer predicts the next word.',
  'Write a limerick about a patient weaver.',
  'A bat and a ball cost 1.10 together. The bat costs 1 more than the ball. What does the ball cost?',
  'Write a function that reverses a linked list.',
];

/** @param onPrompt called with the prompt that was chosen */
export function showPrompts(isTiny: boolean, onPrompt: (prompt: string) => void): void {
  const items = (isTiny ? TINY_PROMPTS : PROMPTS).map((prompt) => {
    const button = make('button', { type: 'button', className: 'button prompt' }, prompt);
    button.addEventListener('click', () => onPrompt(prompt));
    return make('li', {}, button);
  });
  byId('examples', HTMLElement).replaceChildren(...items);
}
