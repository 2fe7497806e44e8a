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
  const mayHaveGaps = patterns.every((pattern) => pattern.mayHaveGaps !== false);
  const scanner = mayHaveGaps ? knownScanner(patterns.map(({ pattern }) => pattern)) : undefined;
  return scanner ?? regexSplitter(patterns);
}

/** An Oniguruma pattern, and the field it comes from for error messages. */
export interface SplitPattern {
  readonly pattern: string;
  readonly where: string;
  /** False: text that the pattern does not match would be lost, and is an error. Default: true. */
  readonly mayHaveGaps?: boolean;
}

/** The patterns of the `pre_tokenizer` section of tokenizer.json, in the order they split in. */
export function readPatterns(json: unknown): SplitPattern[] {
  const patterns: SplitPattern[] = [];
  const steps = readSteps(json, 'pre_tokenizer', 'pretokenizers');
  steps.forEach(({ step, where, type }, i) => {
    const isLast = i === steps.length - 1;
    if (type === 'Split' && !isLast) {
      rejectUnknownKeys(step, where, ['type', 'pattern', 'behavior', 'invert']);
      const isInverted = readBoolean(step.invert, `${where}.invert`, false);
      // Isolated keeps both matches and gaps, so inverting the pattern changes nothing. Removed drops the gaps of an inverted one.
      const isRemoved = step.behavior === 'Removed' && isInverted;
      if (step.behavior !== 'Isolated' && !isRemoved) {
        throw unsupported(`${where}.behavior`, step.behavior, '"Isolated", or "Removed" with invert');
      }
      patterns.push({ ...readPattern(step.pattern, `${where}.pattern`), mayHaveGaps: !isRemoved });
    } else if (type === 'Digits' && !isLast) {
      rejectUnknownKeys(step, where, ['type', 'individual_digits']);
      const isSingle = readBoolean(step.individual_digits, `${where}.individual_digits`, false);
      patterns.push({ pattern: isSingle ? '\\p{N}' : '\\p{N}+', where });
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

/** The pattern of a Split step. */
export function readPattern(json: unknown, where: string): SplitPattern {
  const object = readObject(json, where);
  rejectUnknownKeys(object, where, ['Regex', 'String']);
  if (typeof object.String === 'string')
    return { pattern: escapeText(object.String), where: `${where}.String` };
  return { pattern: readString(object.Regex, `${where}.Regex`), where: `${where}.Regex` };
}

/** Splits by the first pattern, then each piece by the second, and so on. A later pattern sees only its piece. */
export function regexSplitter(patterns: readonly SplitPattern[]): Splitter {
  const regexes = patterns.map(({ pattern, where, mayHaveGaps = true }) => ({
    regex: compileOniguruma(pattern, where),
    mayHaveGaps,
  }));
  return splitInTurn(regexes, splitByRegex);
}

/** Splits a text by the first step, then each piece by the second, and so on. `split` appends the ends of a piece's pieces, `offset` added. */
export function splitInTurn<Step>(
  steps: readonly Step[],
  split: (piece: string, step: Step, offset: number, ends: number[]) => void,
): Splitter {
  return (text, ends) => {
    let pieceEnds = text === '' ? [] : [text.length];
    for (const step of steps) {
      const nextEnds: number[] = [];
      let start = 0;
      for (const end of pieceEnds) {
        split(text.slice(start, end), step, start, nextEnds);
        start = end;
      }
      pieceEnds = nextEnds;
    }
    for (const end of pieceEnds) ends.push(end);
  };
}

/** Matches and the gaps between them become pieces; an empty match is a cut. `offset` is added to every end. */
function splitByRegex(
  piece: string,
  { regex, mayHaveGaps }: { regex: RegExp; mayHaveGaps: boolean },
  offset: number,
  ends: number[],
): void {
  let start = 0;
  const closeGap = (end: number): void => {
    if (end === start) return;
    if (!mayHaveGaps) {
      throw new TokenizerError(
        `the pre_tokenizer drops what its pattern does not match, and this text has ${describe(piece.slice(start, end))}; supported: patterns that match all of a text`,
      );
    }
    ends.push(offset + end);
  };
  try {
    for (const match of piece.matchAll(regex)) {
      closeGap(match.index);
      start = match.index + match[0].length;
      if (match[0] !== '') ends.push(offset + start);
    }
  } catch (error) {
    if (error instanceof TokenizerError) throw error;
    throw new TokenizerError(
      `the pre_tokenizer pattern ${describe(regex.source)} failed on ${piece.length} UTF-16 units of text: ` +
        `${engineReason(error)}; encode the text in shorter parts`,
    );
  }
  closeGap(piece.length);
}
