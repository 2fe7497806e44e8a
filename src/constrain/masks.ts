/**
 * @file Which tokens a state allows, as bits. The stacks of a state's places are cut at the innermost long call. What is above
 * the cut is a state of its own: its mask is the same on any stack and is kept. Tokens that leave it are followed on the
 * real stack. Knows nothing of schemas.
 */
import type { Automaton, Frame, State } from './automaton.ts';
import { loopOf } from './network.ts';
import type { Trie } from './trie.ts';

/** How many masks are kept: 19 kB each for 151,936 tokens. */
const MAX_MASK_BYTES = 16 * 2 ** 20;
/** For loops of this many turns it is faster to begin with the mask of the same loop without limit. */
const MIN_SATURATED_TURNS = 4;
/** The places that one mask may visit: about a second of work. */
const MAX_WORK = 2_000_000;

/** A mask that holds under any stack. */
interface LocalMask {
  /** Tokens whose bytes stay inside, or end exactly where they leave. */
  readonly bits: Uint32Array;
  /** Trie nodes, with children, at which the bytes have left. */
  readonly exits: readonly number[];
}

export class Masks {
  private readonly automaton: Automaton;
  private readonly trie: Trie;
  private readonly stopTokens: readonly number[];
  private readonly numWords: number;
  private readonly maxKept: number;
  private readonly locals = new Map<State, LocalMask>();
  private readonly masks = new Map<State, Uint32Array>();
  /** The state at each depth of the walk. */
  private readonly path: State[] = [];

  constructor(automaton: Automaton, trie: Trie, size: number, stopTokens: readonly number[]) {
    this.automaton = automaton;
    this.trie = trie;
    this.stopTokens = stopTokens;
    this.numWords = Math.ceil(size / 32);
    this.maxKept = Math.max(8, Math.floor(MAX_MASK_BYTES / 2 / (this.numWords * 4)));
  }

  /** The tokens allowed in a state: bit `id & 31` of word `id >>> 5`. Not to be written to. */
  of(state: State): Uint32Array {
    const kept = keep(this.masks, state);
    if (kept !== undefined) return kept;
    this.automaton.beginWork(MAX_WORK);
    const bits = new Uint32Array(this.numWords);
    for (const [frame, places] of this.takeApart(state)) {
      const local = this.localMask(this.automaton.stateOf(places.nodes, places.frames));
      for (let i = 0; i < bits.length; i++) bits[i]! |= local.bits[i]!;
      if (frame === this.automaton.bottom) continue;
      const after = this.automaton.close([frame.node], [frame.parent!]);
      if (after === null) continue;
      for (const node of local.exits) this.walk(after, node, bits);
    }
    if (state.canEnd) for (const token of this.stopTokens) setBit(bits, token);
    return add(this.masks, state, bits, this.maxKept);
  }

  /** The places of a state, grouped by the innermost long call, with their stacks cut there. */
  private takeApart(state: State): Map<Frame, { nodes: number[]; frames: Frame[] }> {
    const { automaton } = this;
    const groups = new Map<Frame, { nodes: number[]; frames: Frame[] }>();
    for (let i = 0; i < state.nodes.length; i++) {
      const above: Frame[] = [];
      let frame = state.frames[i]!;
      while (frame !== automaton.bottom && !frame.isLong) {
        above.push(frame);
        frame = frame.parent!;
      }
      const group = groups.get(frame) ?? { nodes: [], frames: [] };
      groups.set(frame, group);
      group.nodes.push(state.nodes[i]!);
      group.frames.push(
        above.reduceRight((stack, { node }) => automaton.pushFrame(stack, node, false), automaton.bottom),
      );
    }
    return groups;
  }

  private localMask(local: State): LocalMask {
    const kept = keep(this.locals, local);
    if (kept !== undefined) return kept;
    const { state: endless, turns } = this.saturate(local);
    const isEndless = endless !== local && turns >= MIN_SATURATED_TURNS;
    const bits = new Uint32Array(this.numWords);
    const exits: number[] = [];
    if (isEndless) {
      // For tokens of at most `turns` bytes, the loop is the same as one without limit.
      const base = this.localMask(endless);
      const { byLength, startOfLength, depths } = this.trie;
      bits.set(base.bits);
      const numLonger = startOfLength[turns] ?? 0;
      for (let i = 0; i < numLonger; i++) bits[byLength[i]! >>> 5]! &= ~(1 << (byLength[i]! & 31));
      for (const node of base.exits) if (depths[node]! <= turns) exits.push(node);
    }
    this.walk(local, 0, bits, exits, isEndless ? turns : 0);
    return add(this.locals, local, { bits, exits }, this.maxKept);
  }

  /** The state with endless loops in place of its counted ones, and the number of turns to the nearest limit. */
  private saturate(local: State): { state: State; turns: number } {
    const { automaton } = this;
    const { network, bottom } = automaton;
    let turns = Number.POSITIVE_INFINITY;
    const endless = (frame: Frame): Frame => {
      if (frame === bottom) return bottom;
      const parent = endless(frame.parent!);
      let { node } = frame;
      if (node >= network.nodes.length) {
        const loop = loopOf(network, node);
        const done = node - loop.first;
        if (done < loop.min) {
          turns = Math.min(turns, loop.min - done);
          node = loop.never;
        } else if (node < loop.never && loop.max !== Number.POSITIVE_INFINITY) {
          turns = Math.min(turns, loop.max - done);
          node = loop.free;
        }
      }
      return automaton.pushFrame(parent, node, frame.isLong);
    };
    const frames = local.frames.map(endless);
    if (turns < MIN_SATURATED_TURNS || turns === Number.POSITIVE_INFINITY) return { state: local, turns };
    return { state: automaton.stateOf(local.nodes, frames), turns };
  }

  /**
   * Sets the bits of the tokens below a trie node that lead on from a state, and notes the nodes at which the bottom of the
   * stack is reached. Only what is deeper than `minDepth` is noted.
   */
  private walk(from: State, root: number, bits: Uint32Array, exits?: number[], minDepth = 0): void {
    const { automaton, path } = this;
    const { classOfByte } = automaton.network;
    const { bytes, depths, ends, deepest, tokens, twins } = this.trie;
    const end = ends[root]!;
    const hasTwins = twins.size > 0;
    path[depths[root]!] = from;
    for (let node = root + 1; node < end; ) {
      if (deepest[node]! <= minDepth) {
        node = ends[node]!;
        continue;
      }
      const depth = depths[node]!;
      const state = path[depth - 1]!;
      const byteClass = classOfByte[bytes[node]!]!;
      let next = state.next[byteClass];
      if (next === undefined) next = automaton.step(state, byteClass);
      if (next === null) {
        node = ends[node]!;
        continue;
      }
      if (depth > minDepth) {
        const token = tokens[node]!;
        if (token >= 0) {
          bits[token >>> 5]! |= 1 << (token & 31);
          if (hasTwins) for (const twin of twins.get(token) ?? []) setBit(bits, twin);
        }
        if (next.canEnd && exits !== undefined && ends[node]! > node + 1) exits.push(node);
      }
      path[depth] = next;
      node = next.nodes.length === 0 ? ends[node]! : node + 1;
    }
    path.length = 0;
  }
}

function setBit(bits: Uint32Array, token: number): void {
  bits[token >>> 5]! |= 1 << (token & 31);
}

/** The value of a key. That key becomes the last one to be dropped. */
function keep<K, V>(map: Map<K, V>, key: K): V | undefined {
  const value = map.get(key);
  if (value === undefined) return undefined;
  map.delete(key);
  map.set(key, value);
  return value;
}

function add<K, V>(map: Map<K, V>, key: K, value: V, maxSize: number): V {
  if (map.size >= maxSize) map.delete(map.keys().next().value!);
  map.set(key, value);
  return value;
}
