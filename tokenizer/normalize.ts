/**
 * @file Makes text well-formed and normalizes it. Reads the `normalizer` section of tokenizer.json. Knows nothing of tokens.
 */
import { readSteps, rejectUnknownKeys, type Step, unsupported } from './json.ts';

export type Normalizer = (text: string) => string;

const LONE_SURROGATE = /\p{Surrogate}/u;

export const hasLoneSurrogate = (text: string): boolean => LONE_SURROGATE.test(text);

/** The text with every lone surrogate replaced by U+FFFD, as String.prototype.toWellFormed does in newer engines. */
export const toWellFormed = (text: string): string =>
  hasLoneSurrogate(text) ? text.replace(/\p{Surrogate}/gu, '\ufffd') : text;

/** Unicode's forms, and the characters below which each leaves text as it is: they are in the form, and combine with nothing before them. */
const FORMS: Readonly<Record<string, RegExp>> = {
  NFC: /[^\0-\u02ff]/,
  NFD: /[^\0-\xbf]/,
  NFKC: /[^\0-\x9f]/,
  NFKD: /[^\0-\x9f]/,
};

/** The normalizer of a step that is a Unicode form; undefined for another step. */
export function readUnicodeForm({ step, where, type }: Step): Normalizer | undefined {
  if (!Object.hasOwn(FORMS, type)) return undefined;
  rejectUnknownKeys(step, where, ['type']);
  const mayChange = FORMS[type]!;
  return (text) => (mayChange.test(text) ? sortMarks(text, type).normalize(type) : text);
}

/** Marks in a row, and the two letters that become marks in NFKC and NFKD. Shorter rows are no trouble. */
const MANY_MARKS = /[\p{M}\uff9e\uff9f]{64,}/gu;

/**
 * A text that is equivalent in a form and has long rows of marks in their canonical order: engines put each in its place by going
 * back over those before, which takes the square of their number.
 */
function sortMarks(text: string, form: string): string {
  const decomposed = form.replace('C', 'D');
  return text.replace(MANY_MARKS, (row) => {
    const marks = Array.from(row, (char) => Array.from(char.normalize(decomposed))).flat();
    const kinds = [...new Set(marks)].filter((mark) => isAfter('\u0345', mark) || isAfter(mark, '\u0334'));
    kinds.sort((a, b) => Number(isAfter(a, b)) - Number(isAfter(b, a)));
    const rank = new Map<string, number>();
    kinds.forEach((mark, i) => {
      const previous = kinds[i - 1];
      rank.set(mark, previous !== undefined && !isAfter(mark, previous) ? rank.get(previous)! : i + 1);
    });
    let stretch: string[] = [];
    const sorted: string[] = [];
    const endStretch = (): void => {
      stretch.sort((a, b) => rank.get(a)! - rank.get(b)!);
      for (const mark of stretch) sorted.push(mark);
      stretch = [];
    };
    for (const mark of marks) {
      if (rank.has(mark)) stretch.push(mark);
      else {
        endStretch();
        sorted.push(mark);
      }
    }
    endStretch();
    return sorted.join('');
  });
}

/** Whether two marks change places where `a` is before `b`. Marks that begin a new stretch never do. */
const isAfter = (a: string, b: string): boolean => (a + b).normalize('NFD') !== a + b;

/** The normalizer of the `normalizer` section of tokenizer.json: none, or Unicode forms one after another. */
export function readNormalizer(json: unknown): Normalizer {
  const steps = readSteps(json, 'normalizer', 'normalizers').map((step): Normalizer => {
    const form = readUnicodeForm(step);
    if (form) return form;
    throw unsupported(`${step.where}.type`, step.type, `${Object.keys(FORMS).join(', ')}, or null for none`);
  });
  return (text) => steps.reduce((before, step) => step(before), text);
}
