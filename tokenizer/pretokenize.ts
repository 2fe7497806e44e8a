/**
 * @file Cuts text into the words that BPE works on. Reads the `pre_tokenizer` section of tokenizer.json: Split steps with any
 * pattern that regex.ts can convert, then ByteLevel. Knows nothing of tokens.
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

const SUPPORTED = 'Split steps and then one ByteLevel, in a Sequence';

/** The splitter of the `pre_tokenizer` section of tokenizer.json. */
export function readPreTokenizer(json: unknown): Splitter {
  const patterns = readPatterns(json);
  return knownScanner(patterns.map(({ pattern }) => pattern)) ?? regexSplitter(patterns);
}

/** An Oniguruma pattern, and the field it comes from for error messages. */
interface SplitPattern {
  readonly pattern: string;
  readonly where: string;
}

/** The patterns of the `pre_tokenizer` section of tokenizer.json, in the order they split in. */
export function readPatterns(json: unknown): SplitPattern[] {
  const patterns: SplitPattern[] = [];
  const steps = readSteps(json, 'pre_tokenizer', 'pretokenizers');
  steps.forEach(({ step, where, type }, i) => {
    const isLast = i === steps.length - 1;
    if (type === 'Split' && !isLast) {
      rejectUnknownKeys(step, where, ['type', 'pattern', 'behavior', 'invert']);
      if (step.behavior !== 'Isolated') throw unsupported(`${where}.behavior`, step.behavior, '"Isolated"');
      // Isolated keeps both matches and gaps, so inverting the pattern changes nothing.
      readBoolean(step.invert, `${where}.invert`, false);
      patterns.push(readPattern(step.pattern, `${where}.pattern`));
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

function readPattern(json: unknown, where: string): SplitPattern {
  const object = readObject(json, where);
  rejectUnknownKeys(object, where, ['Regex', 'String']);
  if (typeof object.String === 'string')
    return { pattern: escapeText(object.String), where: `${where}.String` };
  return { pattern: readString(object.Regex, `${where}.Regex`), where: `${where}.Regex` };
}

/** Splits by the first pattern, then each piece by the second, and so on. A later pattern sees only its piece. */
export function regexSplitter(patterns: readonly SplitPattern[]): Splitter {
  const regexes = patterns.map(({ pattern, where }) => compileOniguruma(pattern, where));
  return (text, ends) => {
    let pieceEnds = [text.length];
    for (const regex of regexes) {
      const nextEnds: number[] = [];
      let start = 0;
      for (const end of pieceEnds) {
        splitByRegex(text.slice(start, end), regex, start, nextEnds);
        start = end;
      }
      pieceEnds = nextEnds;
    }
    for (const end of pieceEnds) ends.push(end);
  };
}

/** Matches and the gaps between them become pieces; an empty match is a cut. `offset` is added to every end. */
function splitByRegex(piece: string, regex: RegExp, offset: number, ends: number[]): void {
  let start = 0;
  try {
    for (const match of piece.matchAll(regex)) {
      if (match.index > start) ends.push(offset + match.index);
      start = match.index + match[0].length;
      if (match[0] !== '') ends.push(offset + start);
    }
  } catch (error) {
    throw new TokenizerError(
      `the pre_tokenizer pattern ${describe(regex.source)} failed on ${piece.length} UTF-16 units of text: ` +
        `${engineReason(error)}; encode the text in shorter parts`,
    );
  }
  if (start < piece.length) ends.push(offset + piece.length);
}
