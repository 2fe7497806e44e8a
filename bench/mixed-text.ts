/**
 * @file Deterministic mixed text for the tokenizer benchmark: English-like prose, code, CJK, other scripts, emoji,
 * numbers and whitespace, with word frequencies that fall off as in real text. Knows nothing of tokenizers.
 */

/** A small seeded generator of numbers in [0, 1): mulberry32. */
export function seededRandom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t = (t + Math.imul(t ^ (t >>> 7), t | 61)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

const COMMON_WORDS = (
  'the of and to a in is it you that he was for on are with as I his they be at one have this from or had by not but ' +
  "what some we can out other were all there when up use your how said an each she which do their time if will way don't " +
  "about many then them write would like so these her long make thing see him two has look more day could go come it's " +
  'did number sound no most people my over know water than call first who may down side been now find any new work part'
).split(' ');
const SYLLABLES =
  'ba con de er fi gra hor in ja ke lum mo ner o per qui ra ste ti un ver win xi yo za tion al ing ly ment ed ous'.split(
    ' ',
  );
const CODE_LINES = [
  'export function NAME(NAME: number[], NAME = NUM): number {\n',
  '  for (let i = 0; i < NAME.length; i++) {\n',
  '    if (NAME[i]! >= NUM && !NAME.has(NAME)) continue;\n',
  "    const NAME = await fetch(`https://NAME.example/v1?q=NUM`, { method: 'POST' });\n",
  '\t\treturn self.NAME(NAME, NAME=None)  # NAME\n',
  'fn NAME(@builtin(global_invocation_id) id: vec3<u32>) { NAME[id.x] = f32(NUM) * NAME; }\n',
  '<div class="NAME NAME" data-id="NUM"><p>NAME</p></div>\n',
  '  }\n}\n\n',
];
const EMOJI = ['😀', '🎉', '👍🏽', '👩‍💻', '🇩🇪', '❤️', '🚀', '🤖', '✨', '🏳️‍🌈'];
const OTHER_SCRIPTS =
  'привет мир это пример текста на русском γειά σου κόσμε مرحبا بالعالم שלום עולם नमस्ते दुनिया สวัสดีชาวโลก 안녕하세요 세계'.split(
    ' ',
  );
const WHITESPACE = ['  ', '    ', '\n\n', '\t', '\n        ', ' \n ', '\u00a0', '\u3000'];

/** About `numChars` UTF-16 units of mixed text; the same seed gives the same text. */
export function mixedText(numChars: number, seed = 1): string {
  const random = seededRandom(seed);
  const pick = <T>(list: readonly T[]): T => list[Math.floor(random() * list.length)]!;
  /** Low ranks are frequent: the density of rank r falls off as 1 / r. */
  const zipf = (n: number): number => Math.min(n - 1, Math.floor(n ** random()) - 1);
  const makeWord = (): string =>
    Array.from({ length: 1 + Math.floor(random() * 4) }, () => pick(SYLLABLES)).join('');
  const rareWords = Array.from({ length: 20_000 }, makeWord);
  const han = Array.from({ length: 3_000 }, () =>
    String.fromCharCode(0x4e00 + Math.floor(random() * 0x5000)),
  );
  const word = (): string => (random() < 0.55 ? pick(COMMON_WORDS) : rareWords[zipf(rareWords.length)]!);
  const names = Array.from({ length: 4_000 }, () => {
    const first = makeWord();
    const second = word();
    return random() < 0.5 ? `${first}_${second}` : first + second.charAt(0).toUpperCase() + second.slice(1);
  });
  const name = (): string => names[zipf(names.length)]!;

  const prose = (): string => {
    const words = Array.from({ length: 4 + Math.floor(random() * 16) }, word);
    const sentence = words.map((w) => (random() < 0.08 ? `${w},` : w)).join(' ');
    return (
      sentence.charAt(0).toUpperCase() + sentence.slice(1) + pick(['. ', '. ', '? ', '! ', '.\n', '…\n\n'])
    );
  };
  const code = (): string =>
    pick(CODE_LINES)
      .replace(/NAME/g, name)
      .replace(/NUM/g, () => String(Math.floor(random() * 5000)));
  const cjk = (): string =>
    Array.from({ length: 3 + Math.floor(random() * 20) }, () => han[zipf(han.length)]!).join('') +
    pick(['。', '，', '、', '！\n', 'のは', 'です。']);
  const numbers = (): string =>
    `${Math.floor(random() * 1e6)}${pick([', ', ' ', '.', '%\n', ' km '])}${(random() * 1000).toFixed(3)} `;
  /** Each with the upper end of its share of [0, 1). */
  const kinds: [limit: number, make: () => string][] = [
    [0.45, prose],
    [0.7, code],
    [0.8, cjk],
    [0.86, numbers],
    [0.92, () => `${pick(OTHER_SCRIPTS)} `],
    [0.97, () => pick(EMOJI)],
    [1, () => pick(WHITESPACE)],
  ];

  const pieces: string[] = [];
  for (let length = 0; length < numChars; ) {
    const ticket = random();
    const make = kinds.find(([limit]) => ticket < limit)?.[1] ?? prose;
    const piece = make();
    pieces.push(piece);
    length += piece.length;
  }
  return pieces.join('');
}
