/**
 * @file What is done to a text before pieces are looked for: the `normalizer` section of a tokenizer.json of SentencePiece's kind, and
 * Metaspace, which tokenizer.json calls a pre-tokenizer although it changes the text. Knows nothing of tokens.
 */
import { TokenizerError } from './errors.ts';
import { readObject, readSteps, readString, rejectUnknownKeys, type Step, unsupported } from './json.ts';
import type { Kind } from './kind.ts';
import { type Normalizer, readUnicodeForm } from './normalize.ts';
import { readMetaspace } from './piece-decoder.ts';
import { readSplit, type SplitStep, stepSplitter } from './piece-split.ts';
import { compileOniguruma, escapeText } from './regex.ts';

/** The most that all steps together may make of one UTF-16 unit, so that a text stays a text. */
const MAX_GROWTH = 1024;
/** NFKC and NFKD make 18 characters of U+FDFA. */
const FORM_GROWTH = 18;
const MAX_PREFIX = 1024;

export function readPieceNormalizer(json: unknown): Normalizer {
  let growth = 1;
  const steps = readSteps(json, 'normalizer', 'normalizers').map((entry): Normalizer => {
    const form = readUnicodeForm(entry);
    if (form) growth *= FORM_GROWTH;
    if (form) return form;
    if (entry.type === 'Prepend') return readPrepend(entry);
    if (entry.type !== 'Replace') {
      throw unsupported(
        `${entry.where}.type`,
        entry.type,
        'Prepend, Replace, NFC, NFD, NFKC, NFKD, or null for none',
      );
    }
    const { replace, growth: own } = readReplace(entry);
    growth *= own;
    return replace;
  });
  if (growth > MAX_GROWTH) {
    throw new TokenizerError(
      `normalizer can make a text ${growth} times as long; supported: up to ${MAX_GROWTH} times`,
    );
  }
  return (text) => steps.reduce((before, step) => step(before), text);
}

function readPrepend({ step, where }: Step): Normalizer {
  rejectUnknownKeys(step, where, ['type', 'prepend']);
  const prefix = readString(step.prepend, `${where}.prepend`);
  if (prefix.length > MAX_PREFIX) {
    throw unsupported(`${where}.prepend`, prefix, `at most ${MAX_PREFIX} characters`);
  }
  return (text) => (text === '' ? '' : prefix + text);
}

function readReplace({ step, where }: Step): { replace: Normalizer; growth: number } {
  rejectUnknownKeys(step, where, ['type', 'pattern', 'content']);
  const content = readString(step.content, `${where}.content`);
  const pattern = readObject(step.pattern, `${where}.pattern`);
  rejectUnknownKeys(pattern, `${where}.pattern`, ['String', 'Regex']);
  const text = pattern.String;
  if (typeof text === 'string' && text !== '') {
    const growth = Math.max(content.length / text.length, 1);
    return { replace: (before) => before.replaceAll(text, () => content), growth };
  }
  if (text !== undefined) throw unsupported(`${where}.pattern.String`, text, 'a text that is not empty');
  const regex = compileOniguruma(
    readString(pattern.Regex, `${where}.pattern.Regex`),
    `${where}.pattern.Regex`,
  );
  // Matches may be empty, between any two units.
  return { replace: (before) => before.replace(regex, () => content), growth: 1 + content.length };
}

const SUPPORTED = '"Metaspace" alone, "Split" and "Digits", or null for none';

/** What the `pre_tokenizer` section does to the text, and where it splits it. */
export function readPiecePreTokenizer(json: unknown): Pick<Kind, 'prepare' | 'split'> {
  const steps = readSteps(json, 'pre_tokenizer', 'pretokenizers');
  if (steps.length === 1 && steps[0]!.type === 'Metaspace') {
    const { replacement, prependScheme, isSplit } = readMetaspace(steps[0]!.step, steps[0]!.where);
    const prepare = (stretch: string, isStart: boolean): string => {
      const text = stretch.replaceAll(' ', replacement);
      const isPrefixed = prependScheme === 'always' || (prependScheme === 'first' && isStart);
      return isPrefixed && text !== '' && !text.startsWith(replacement) ? replacement + text : text;
    };
    if (!isSplit) return { prepare, split: stepSplitter([]) };
    const regex = compileOniguruma(escapeText(replacement), steps[0]!.where);
    return { prepare, split: stepSplitter([{ regex, behavior: 'MergedWithNext', isInverted: false }]) };
  }
  const splits = steps.map((entry): SplitStep => {
    const split = readSplit(entry);
    if (!split) throw unsupported(`${entry.where}.type`, entry.type, SUPPORTED);
    return split;
  });
  return { prepare: (stretch) => stretch, split: stepSplitter(splits) };
}
