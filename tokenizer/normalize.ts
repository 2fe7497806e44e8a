/**
 * @file Makes text well-formed and normalizes it. Reads the `normalizer` section of tokenizer.json. Knows nothing of tokens.
 */
import { readSteps, rejectUnknownKeys, unsupported } from './json.ts';

export type Normalizer = (text: string) => string;

const LONE_SURROGATE = /\p{Surrogate}/u;

export const hasLoneSurrogate = (text: string): boolean => LONE_SURROGATE.test(text);

/** The text with every lone surrogate replaced by U+FFFD, as String.prototype.toWellFormed does in newer engines. */
export const toWellFormed = (text: string): string =>
  hasLoneSurrogate(text) ? text.replace(/\p{Surrogate}/gu, '\ufffd') : text;

/** The normalizer of the `normalizer` section of tokenizer.json: none, or NFC. */
export function readNormalizer(json: unknown): Normalizer {
  const steps = readSteps(json, 'normalizer', 'normalizers');
  for (const { step, where, type } of steps) {
    if (type !== 'NFC') throw unsupported(`${where}.type`, type, '"NFC", or null for none');
    rejectUnknownKeys(step, where, ['type']);
  }
  return steps.length > 0 ? toNfc : (text) => text;
}

/** Characters below U+0300 are in NFC and combine with nothing before them. */
const MAY_CHANGE = /[^\0-\u02ff]/;

const toNfc: Normalizer = (text) => (MAY_CHANGE.test(text) ? text.normalize('NFC') : text);
