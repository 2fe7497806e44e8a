/**
 * @file Cuts text into the words that BPE works on. Reads the `pre_tokenizer` section of tokenizer.json: Split steps with any
 * pattern that regex.ts can convert, Digits steps, then ByteLevel. Knows nothing of tokens.
 */
import { TokenizerError } from './errors.ts';
import {
  describe,
  readBoolean,
  readObject,
  readSteps,
  readString,
  rejectUnknownKeys,
  type Step,
  unsupported,
} from './json.ts';
import { compileOniguruma, engineReason, escapeText } from './regex.ts';
import { knownScanner, type Splitter } from './scanners.ts';

/** What ByteLevel splits by when `use_regex` is true (GPT-2). */
const GPT2_PATTERN = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

const SUPPORTED = 'Split and Digits steps and then one ByteLevel, in a Sequence';

/** The splitter of the `pre_tokenizer` section of tokenizer.json. */
export function readPreTokenizer(json: unknown): Splitter {
  const patterns = readPatterns(json);
  const isIsolated = patterns.every(({ behavior = 'Isolated' }) => behavior === 'Isolated');
  const scanner = isIsolated ? knownScanner(patterns.map(({ pattern }) => pattern)) : undefined;
  return scanner ?? regexSplitter(patterns);
}

/** An Oniguruma pattern, and the field it comes from for error messages. */
export interface SplitPattern {
  readonly pattern: string;
  readonly where: string;
  /**
   * What becomes of matches and of gaps between them, as in Split: a piece each (Isolated, the default), or a match joins what is
   * before or after it, or neighbours of one sort are one piece. Removed: a gap would be lost, and is an error.
   */
  readonly behavior?: string;
  /** Matches count as gaps, and gaps as matches. */
  readonly isInverted?: boolean;
}

/** The patterns of the `pre_tokenizer` section of tokenizer.json, in the order they split in. */
export function readPatterns(json: unknown): SplitPattern[] {
  const patterns: SplitPattern[] = [];
  const steps = readSteps(json, 'pre_tokenizer', 'pretokenizers');
  steps.forEach((entry, i) => {
    const { step, where, type } = entry;
    const isLast = i === steps.length - 1;
    const pattern = isLast ? undefined : readSplit(entry);
    if (pattern) {
      patterns.push(pattern);
    } else if (type === 'ByteLevel' && isLast) {
      rejectUnknownKeys(step, where, ['type', 'add_prefix_space', 'trim_offsets', 'use_regex']);
      readBoolean(step.trim_offsets, `${where}.trim_offsets`, true);
      if (readBoolean(step.add_prefix_space, `${where}.add_prefix_space`, true)) {
        throw unsupported(
          `${where}.add_prefix_space`,
          step.add_prefix_space ?? 'absent (which means true)',
          'false',
        );
      }
      if (readBoolean(step.use_regex, `${where}.use_regex`, true))
        patterns.push({ pattern: GPT2_PATTERN, where });
    } else {
      throw unsupported(`${where}.type`, type, SUPPORTED);
    }
  });
  if (steps.length === 0) throw unsupported('pre_tokenizer', json, SUPPORTED);
  return patterns;
}

/** The pattern of a Split or Digits step; undefined for another step. */
export function readSplit({ step, where, type }: Step): SplitPattern | undefined {
  if (type === 'Digits') {
    rejectUnknownKeys(step, where, ['type', 'individual_digits']);
    const isSingle = readBoolean(step.individual_digits, `${where}.individual_digits`, false);
    return { pattern: isSingle ? '\\p{N}' : '\\p{N}+', where };
  }
  if (type !== 'Split') return undefined;
  rejectUnknownKeys(step, where, ['type', 'pattern', 'behavior', 'invert']);
  const isInverted = readBoolean(step.invert, `${where}.invert`, false);
  const behavior = readString(step.behavior, `${where}.behavior`);
  // What is not inverted would drop the matches.
  if (!BEHAVIORS.includes(behavior) || (behavior === 'Removed' && !isInverted)) {
    throw unsupported(
      `${where}.behavior`,
      behavior,
      '"Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous", or "Removed" with invert',
    );
  }
  return { ...readPattern(step.pattern, `${where}.pattern`), behavior, isInverted };
}

const BEHAVIORS = ['Isolated', 'MergedWithPrevious', 'MergedWithNext', 'Contiguous', 'Removed'];

function readPattern(json: unknown, where: string): SplitPattern {
  const object = readObject(json, where);
  rejectUnknownKeys(object, where, ['Regex', 'String']);
  if (typeof object.String === 'string')
    return { pattern: escapeText(object.String), where: `${where}.String` };
  return { pattern: readString(object.Regex, `${where}.Regex`), where: `${where}.Regex` };
}

/** Splits by the first pattern, then each piece by the second, and so on. A later pattern sees only its piece. */
export function regexSplitter(patterns: readonly SplitPattern[]): Splitter {
  const regexes = patterns.map(({ pattern, where, behavior = 'Isolated', isInverted = false }) => ({
    regex: compileOniguruma(pattern, where),
    behavior,
    isInverted,
  }));
  return (text, ends) => {
    let pieceEnds = [text.length];
    for (const step of regexes) {
      const nextEnds: number[] = [];
      let start = 0;
      for (const end of pieceEnds) {
        splitByRegex(text.slice(start, end), step, start, nextEnds);
        start = end;
      }
      pieceEnds = nextEnds;
    }
    for (const end of pieceEnds) ends.push(end);
  };
}

interface SplitStep {
  readonly regex: RegExp;
  readonly behavior: string;
  readonly isInverted: boolean;
}

/** Matches and the gaps between them become pieces; an empty match is a cut. `offset` is added to every end. */
function splitByRegex(piece: string, step: SplitStep, offset: number, ends: number[]): void {
  const { regex, behavior, isInverted } = step;
  const join = (end: number): void => {
    ends[ends.length - 1] = end;
  };
  const numBefore = ends.length;
  let start = 0;
  let wasMatch = false;
  const add = (end: number, isMatch: boolean): void => {
    const isFirst = ends.length === numBefore;
    if (behavior === 'MergedWithPrevious' && isMatch && !wasMatch && !isFirst) join(offset + end);
    else if (behavior === 'MergedWithNext' && !isMatch && wasMatch) join(offset + end);
    else if (behavior === 'Contiguous' && isMatch === wasMatch && !isFirst) join(offset + end);
    else ends.push(offset + end);
    start = end;
    wasMatch = isMatch;
  };
  const closeGap = (end: number): void => {
    if (end === start) return;
    if (behavior === 'Removed') {
      throw new TokenizerError(
        `the pre_tokenizer drops what its pattern does not match, and this text has ${describe(piece.slice(start, end))}; supported: patterns that match all of a text`,
      );
    }
    add(end, isInverted);
  };
  try {
    for (const match of piece.matchAll(regex)) {
      closeGap(match.index);
      add(match.index + match[0].length, !isInverted);
    }
  } catch (error) {
    if (error instanceof TokenizerError) throw error;
    throw new TokenizerError(
      `the pre_tokenizer pattern ${describe(regex.source)} failed on ${piece.length} UTF-16 units of text: ` +
        `${engineReason(error)}; encode the text in shorter parts`,
    );
  }
  closeGap(piece.length);
  // Empty matches have left empty pieces.
  let length = numBefore;
  for (let i = numBefore; i < ends.length; i++) {
    if (ends[i]! > (length > numBefore ? ends[length - 1]! : offset)) ends[length++] = ends[i]!;
  }
  ends.length = length;
}
