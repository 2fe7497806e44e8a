/**
 * @file How many decode steps to keep in flight, found while decoding: the fewest that are about as fast as more. What hides the
 * way back of a token differs widely: half a millisecond in Chrome, up to a hundred in browsers that look for it by a timer.
 */

export interface DepthGauge {
  /** Steps to keep in flight now. */
  readonly depth: number;
  /** An answer begins. */
  begin(): void;
  /** A step's token has come, at a time in milliseconds. */
  step(now: number): void;
}

/** What is tried, from the first on. A step in flight behind the answer's end is for nothing, so few are better. */
const DEPTHS = [2, 3, 4, 6, 8];
export const MAX_DEPTH = DEPTHS.at(-1)!;
/** Tokens that one measurement takes. */
const WINDOW = 16;
/** What more steps in flight must gain to stay. */
const LEAST_GAIN = 1.05;
/** Tokens after which one more step is tried again: the first try may have been disturbed. */
const PATIENCE = 512;

export function createDepthGauge(): DepthGauge {
  let at = 0;
  /** Tokens a millisecond of the depth before, while the next one is tried. */
  let before: number | undefined;
  let rest = 0;
  /** Tokens that still come from steps of another depth. */
  let unsettled = 0;
  let numTokens = 0;
  let began = 0;

  const restart = (): void => {
    unsettled = DEPTHS[at]!;
    numTokens = 0;
  };

  function measured(rate: number): void {
    const isGain = before === undefined || rate >= LEAST_GAIN * before;
    if (isGain && at < DEPTHS.length - 1) {
      before = rate;
      at++;
    } else {
      if (!isGain) at--;
      before = undefined;
      rest = PATIENCE;
    }
    restart();
  }

  restart();
  return {
    get depth() {
      return DEPTHS[at]!;
    },
    begin: restart,
    step(now) {
      if (rest > 0) {
        rest--;
      } else if (unsettled > 0) {
        unsettled--;
        began = now;
      } else if (++numTokens === WINDOW) {
        measured(WINDOW / Math.max(now - began, 1e-3));
      }
    },
  };
}

/** Where one step is all that runs: an adapter that is the processor itself gains nothing. */
export const singleStep: DepthGauge = { depth: 1, begin() {}, step() {} };
