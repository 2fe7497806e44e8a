/**
 * @file `npm run bench:constrain`: time of a mask of allowed tokens at Qwen3's 151,936 tokens, for the schemas of the tests and
 * documents drawn from them, each schema new to the engine. Exits with 1 where the median misses the bar.
 */
import { compileConstraint, type ResponseFormat, vocabularyOf } from '../src/constrain/index.ts';
import { SCHEMAS } from '../test/constrain/any-schema.ts';
import { tokenizerOf } from '../test/tokenizer/tokenizers.ts';

const BAR_MILLISECONDS = 1;
const SIZE = 151_936;

/** What a model would answer, for each schema. */
const DOCUMENTS: Readonly<Record<string, unknown>> = {
  person: {
    name: 'Zoë Müller-O\u2019Brien',
    age: 42,
    email: 'zoe.mueller@example.org',
    tags: ['early bird', 'chess', 'climbing in Wales'],
  },
  steps: {
    steps: [
      {
        explanation: 'Subtract 7 from both sides of the equation, so that only the term with x is left.',
        output: '8x = -30',
      },
      {
        explanation: 'Divide both sides by 8 and "simplify" the fraction.\nThis is exact.',
        output: 'x = -30/8 = -15/4',
      },
    ],
    final_answer: 'x = -3.75, that is \\frac{-15}{4}',
  },
  page: {
    type: 'form',
    label: 'Sign up',
    children: [
      {
        type: 'field',
        label: 'First name',
        children: [],
        attributes: [
          { name: 'type', value: 'text' },
          { name: 'required', value: 'true' },
        ],
      },
      {
        type: 'section',
        label: '',
        children: [{ type: 'button', label: 'Submit 提交', children: [], attributes: [] }],
        attributes: [],
      },
    ],
    attributes: [{ name: 'method', value: 'post' }],
  },
  list: {
    list: { value: 1, next: { value: -2.5, next: { value: 1e21, next: { value: 0.001, next: null } } } },
  },
  order: {
    id: '3f2504e0-4f89-41d3-9a0c-0305e82c3301',
    at: '2024-02-29T23:59:59.123Z',
    price: 1299.95,
    currency: 'EUR',
    item: { kind: 'book', isbn: '978-3161484100' },
    notes: { gift: 'Happy birthday, dear Ana! 🎂 Many happy returns of the day.', door: 'ring twice' },
  },
  'any JSON': {
    a: [1, 2, { b: null, c: 'some text and more text' }],
    'a longer key': [true, false, 'x'],
    n: { deep: { deeper: ['e'] } },
  },
};

const formatOf = (name: string, round: number): ResponseFormat =>
  name === 'any JSON'
    ? { type: 'json_schema', json_schema: { name: `${round}` } }
    : { type: 'json_schema', json_schema: { name: `${round}`, schema: SCHEMAS[name], strict: true } };

const percentile = (values: readonly number[], part: number): number =>
  values.toSorted((a, b) => a - b)[Math.min(values.length - 1, Math.floor(values.length * part))]!;
const show = (value: number): string => value.toFixed(3).padStart(9);

function time(run: () => void): number {
  const begin = performance.now();
  run();
  return performance.now() - begin;
}

const tokenizer = tokenizerOf('qwen3');
const vocabulary = vocabularyOf(tokenizer, SIZE, [tokenizer.eosTokenId!]);
const trie = time(() => compileConstraint({ type: 'regex', pattern: 'a' }, vocabulary));
console.log(`vocabulary of ${SIZE} tokens: ${trie.toFixed(0)} ms once; times of a mask in ms\n`);
console.log(
  `${'schema'.padEnd(12)}${['compile', 'first', 'median', 'p95', 'max', 'again'].map((name) => name.padStart(9)).join('')}   tokens`,
);

const all: number[] = [];
const ROUNDS = 5;
for (const [name, document] of Object.entries(DOCUMENTS)) {
  const text = JSON.stringify(document);
  const ids = tokenizer.encode(text, { special: 'plain', addBos: false });
  const rounds: { compile: number; times: number[]; again: number }[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    const format = formatOf(name, round);
    const times: number[] = [];
    const walk = () => {
      const constraint = compileConstraint(format, vocabulary);
      const own: number[] = [];
      for (const id of ids) {
        own.push(time(() => constraint.mask()));
        constraint.accept(id);
      }
      own.push(time(() => constraint.mask()));
      return own;
    };
    const compile = time(() => compileConstraint(format, vocabulary));
    times.push(...walk());
    rounds.push({ compile, times, again: percentile(walk(), 0.5) });
    all.push(...times);
  }
  const times = rounds.flatMap((round) => round.times);
  const figures = [
    percentile(
      rounds.map(({ compile }) => compile),
      0.5,
    ),
    percentile(
      rounds.map((round) => round.times[0]!),
      0.5,
    ),
    percentile(times, 0.5),
    percentile(times, 0.95),
    Math.max(...times),
    percentile(
      rounds.map(({ again }) => again),
      0.5,
    ),
  ];
  console.log(`${name.padEnd(12)}${figures.map(show).join('')}   ${ids.length}`);
}
const median = percentile(all, 0.5);
const isMet = median < BAR_MILLISECONDS;
console.log(
  `\nall: median ${median.toFixed(3)} ms, p95 ${percentile(all, 0.95).toFixed(3)} ms, max ${Math.max(...all).toFixed(1)} ms`,
);
console.log(`bar: median under ${BAR_MILLISECONDS} ms, ${isMet ? 'met' : 'MISSED'}`);
if (!isMet) process.exitCode = 1;
