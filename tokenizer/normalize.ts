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
  return (text) => (mayChange.test(text) ? text.normalize(type) : text);
}

/** The normalizer of the `normalizer` section of tokenizer.json: none, or Unicode forms one after another. */
export function readNormalizer(json: unknown): Normalizer {
  const steps = readSteps(json, 'normalizer', 'normalizers').map((step): Normalizer => {
    const form = readUnicodeForm(step);
    if (form) return form;
    throw unsupported(`${step.where}.type`, step.type, `${Object.keys(FORMS).join(', ')}, or null for none`);
  });
  return (text) => steps.reduce((before, step) => step(before), text);
}
