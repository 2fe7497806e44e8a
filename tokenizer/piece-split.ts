/**
 * @file Split and Digits steps for texts of pieces: unlike those before ByteLevel, they may join matches with what is beside them. Knows
 * nothing of tokens.
 */
import { TokenizerError } from './errors.ts';
import { describe, readBoolean, readString, rejectUnknownKeys, type Step, unsupported } from './json.ts';
import { readPattern, splitInTurn } from './pretokenize.ts';
import { compileOniguruma, engineReason } from './regex.ts';
import type { Splitter } from './scanners.ts';

export interface SplitStep {
  readonly regex: RegExp;
  /**
   * What becomes of matches and of gaps between them, as in Split: a piece each (Isolated), or a match joins what is before or after it, or
   * neighbours of one sort are one piece. Removed: a gap would be lost, and is an error.
   */
  readonly behavior: string;
  /** Matches count as gaps, and gaps as matches. */
  readonly isInverted: boolean;
}

/** The pattern of a Split or Digits step, and what it does; undefined for another step. */
export function readSplit({ step, where, type }: Step): SplitStep | undefined {
  if (type === 'Digits') {
    rejectUnknownKeys(step, where, ['type', 'individual_digits']);
    const isSingle = readBoolean(step.individual_digits, `${where}.individual_digits`, false);
    return {
      regex: compileOniguruma(isSingle ? '\\p{N}' : '\\p{N}+', where),
      behavior: 'Isolated',
      isInverted: false,
    };
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
  const { pattern, where: path } = readPattern(step.pattern, `${where}.pattern`);
  return { regex: compileOniguruma(pattern, path), behavior, isInverted };
}

const BEHAVIORS = ['Isolated', 'MergedWithPrevious', 'MergedWithNext', 'Contiguous', 'Removed'];

/** Splits by the first step, then each piece by the second, and so on. A later pattern sees only its piece. */
export const stepSplitter = (steps: readonly SplitStep[]): Splitter => splitInTurn(steps, splitByRegex);

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
