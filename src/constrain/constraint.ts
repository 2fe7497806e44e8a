/**
 * @file A text being written under a constraint: which tokens may come next, and where it stands. Knows nothing of schemas.
 */
import { InvalidInputError } from '../errors.ts';
import type { Automaton, State } from './automaton.ts';
import type { Masks } from './masks.ts';
import type { Vocabulary } from './trie.ts';

export interface Constraint {
  /**
   * The tokens that may come next: bit `id & 31` of word `id >>> 5`. They include stop tokens where the text may end.
   * Shared and valid until the next call: read it or copy it, never write to it.
   * @throws InvalidInputError where the grammar turns out to be too ambiguous to follow.
   */
  mask(): Uint32Array;
  /** The only token that may come next; undefined if there are several or none. */
  forced(): number | undefined;
  /** Takes a token that mask() allows. @throws InvalidInputError for any other, and changes nothing. */
  accept(token: number): void;
  /** The text may end here. */
  readonly canEnd: boolean;
  /** Nothing more may come but a stop token. */
  readonly isDone: boolean;
  /** An independent copy at the same place. */
  fork(): Constraint;
}

/** What all constraints with one grammar share. */
export interface Compiled {
  readonly automaton: Automaton;
  readonly masks: Masks;
  readonly vocabulary: Vocabulary;
  readonly stopTokens: ReadonlySet<number>;
}

/** The places that one token may visit. No real token needs more. */
const MAX_WORK = 1_000_000;

export function startConstraint(compiled: Compiled): Constraint {
  return new WrittenText(compiled, compiled.automaton.start, false);
}

class WrittenText implements Constraint {
  private readonly compiled: Compiled;
  private state: State;
  private hasStopped: boolean;

  constructor(compiled: Compiled, state: State, hasStopped: boolean) {
    this.compiled = compiled;
    this.state = state;
    this.hasStopped = hasStopped;
  }

  get canEnd(): boolean {
    return this.state.canEnd;
  }

  get isDone(): boolean {
    return this.hasStopped || this.state.nodes.length === 0;
  }

  mask(): Uint32Array {
    const bits = this.compiled.masks.of(this.state);
    return this.hasStopped ? new Uint32Array(bits.length) : bits;
  }

  forced(): number | undefined {
    let token: number | undefined;
    const bits = this.mask();
    for (let word = 0; word < bits.length; word++) {
      const value = bits[word]!;
      if (value === 0) continue;
      if (token !== undefined || (value & (value - 1)) !== 0) return undefined;
      token = word * 32 + 31 - Math.clz32(value);
    }
    return token;
  }

  accept(token: number): void {
    const { automaton, vocabulary, stopTokens } = this.compiled;
    if (this.hasStopped) throw refused(token, 'the text has ended');
    if (stopTokens.has(token)) {
      if (!this.state.canEnd) throw refused(token, 'the text cannot end here');
      this.hasStopped = true;
      return;
    }
    const bytes = vocabulary.bytesOf(token);
    if (bytes === undefined || bytes.length === 0) throw refused(token, 'it stands for no text');
    automaton.beginWork(MAX_WORK);
    let state: State = this.state;
    for (const byte of bytes) {
      const next = automaton.step(state, automaton.network.classOfByte[byte]!);
      if (next === null) throw refused(token, 'the constraint does not allow it here');
      state = next;
    }
    this.state = state;
  }

  fork(): Constraint {
    return new WrittenText(this.compiled, this.state, this.hasStopped);
  }
}

const refused = (token: number, why: string): InvalidInputError =>
  new InvalidInputError(
    `The token ${token} cannot come next: ${why}. Choose one whose bit is set in mask().`,
  );
