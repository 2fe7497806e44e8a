/**
 * @file Turns the network into a deterministic automaton over byte classes, built state by state as texts need it. A state is a set of
 * places in the network, each with the stack of calls it will return to. Knows nothing of tokens.
 */
import { InvalidInputError } from '../errors.ts';
import { type Loop, loopOf, type Network } from './network.ts';

/** When there are more states than this (some kilobytes each), all are dropped and built again as needed. */
const MAX_STATES = 10_000;
/** Nodes reached without a byte from one state. With more, the grammar is more ambiguous than any model needs. */
const MAX_REACHED = 20_000;

/** A stack of calls: the innermost, and the rest. */
export interface Frame {
  readonly id: number;
  /** Where the network goes on when the called rule ends. */
  readonly node: number;
  /** Undefined at the bottom of the stack, where the text may end. */
  readonly parent: Frame | undefined;
  /** The called rule has its own masks, whatever is below it on the stack. */
  readonly isLong: boolean;
  readonly pushed: Map<number, Frame>;
}

export interface State {
  /** Nodes that have edges, each with its stack, in a fixed order. */
  readonly nodes: readonly number[];
  readonly frames: readonly Frame[];
  /** The bottom of the stack is reached. */
  readonly canEnd: boolean;
  /** By byte class: the next state, null where there is none, undefined where it was not computed yet. */
  readonly next: (State | null | undefined)[];
}

/** Every prefix of a match leads from `start` to a state, and from every state a match can be reached. */
export class Automaton {
  readonly network: Network;
  readonly bottom: Frame;
  readonly start: State;
  /** Places visited since the last `beginWork`. It limits the time that hostile patterns take. */
  private work = 0;
  private workLimit = Number.POSITIVE_INFINITY;
  private numFrames = 0;
  private states = new Map<string, State>();

  constructor(network: Network) {
    this.network = network;
    this.bottom = this.newFrame(-1, undefined, false);
    this.start = this.close([network.entries[0]!], [this.bottom])!;
  }

  /** From now on, visiting more than `limit` places throws. */
  beginWork(limit: number): void {
    this.work = 0;
    this.workLimit = limit;
  }

  /** The state after a byte of this class, or null. */
  step(state: State, byteClass: number): State | null {
    const known = state.next[byteClass];
    if (known !== undefined) return known;
    const nodes: number[] = [];
    const frames: Frame[] = [];
    for (let i = 0; i < state.nodes.length; i++) {
      const { edges } = this.network.nodes[state.nodes[i]!]!;
      for (let edge = 0; edge < edges.length; edge += 3) {
        if (edges[edge]! > byteClass || byteClass > edges[edge + 1]!) continue;
        nodes.push(edges[edge + 2]!);
        frames.push(state.frames[i]!);
      }
    }
    const next = nodes.length === 0 ? null : this.close(nodes, frames);
    state.next[byteClass] = next;
    return next;
  }

  /** The state of these places and of all places that they reach without a byte; null if there are none. */
  close(nodes: readonly number[], frames: readonly Frame[]): State | null {
    const { network, bottom } = this;
    const openNodes = nodes.slice();
    const openFrames = frames.slice();
    const seen = new Map<number, [node: number, frame: Frame] | undefined>();
    let canEnd = false;
    let numPlaces = 0;
    for (let node = openNodes.pop(); node !== undefined; node = openNodes.pop()) {
      const frame = openFrames.pop()!;
      const key = frame.id * network.numPositions + node;
      if (seen.has(key)) continue;
      if (seen.size >= MAX_REACHED || ++this.work > this.workLimit) throw ambiguous();
      const push = (target: number, stack: Frame) => {
        openNodes.push(target);
        openFrames.push(stack);
      };
      const isPlace = node < network.nodes.length && network.nodes[node]!.edges.length > 0;
      seen.set(key, isPlace ? [node, frame] : undefined);
      if (isPlace) numPlaces++;
      if (node >= network.nodes.length) {
        const loop = loopOf(network, node);
        if (canLeave(loop, node)) push(loop.exit, frame);
        const next = nextTurn(loop, node);
        if (next !== undefined) push(network.entries[loop.rule]!, this.push(frame, next, loop.rule));
        continue;
      }
      const { epsilons, calls } = network.nodes[node]!;
      for (const target of epsilons) push(target, frame);
      for (const { rule, returnTo } of calls) {
        // A call at the very end of a rule returns to where that rule returns, so lists written with recursion keep a flat stack.
        const stack = this.isReturn(returnTo) ? frame : this.push(frame, returnTo, rule);
        push(network.entries[rule]!, stack);
      }
      if (network.finals.has(node)) {
        if (frame === bottom) canEnd = true;
        else push(frame.node, frame.parent!);
      }
    }
    if (numPlaces === 0 && !canEnd) return null;
    const keys = [...seen.keys()].filter((key) => seen.get(key) !== undefined).sort((a, b) => a - b);
    const places = keys.map((key) => seen.get(key)!);
    return this.intern(
      keys,
      places.map(([node]) => node),
      places.map(([, frame]) => frame),
      canEnd,
    );
  }

  /** The state of exactly these places. All have edges; what they reach without a byte is one of them or not wanted. */
  stateOf(nodes: readonly number[], frames: readonly Frame[]): State {
    const keyOf = (i: number) => frames[i]!.id * this.network.numPositions + nodes[i]!;
    const order = nodes.map((_, i) => i).sort((a, b) => keyOf(a) - keyOf(b));
    return this.intern(
      order.map(keyOf),
      order.map((i) => nodes[i]!),
      order.map((i) => frames[i]!),
      false,
    );
  }

  /** The stack with one more call on it. */
  push(frame: Frame, returnTo: number, rule: number): Frame {
    return this.pushFrame(frame, returnTo, this.network.isLong[rule]!);
  }

  pushFrame(frame: Frame, node: number, isLong: boolean): Frame {
    let pushed = frame.pushed.get(node);
    if (pushed === undefined) {
      pushed = this.newFrame(node, frame, isLong);
      frame.pushed.set(node, pushed);
    }
    return pushed;
  }

  private newFrame(node: number, parent: Frame | undefined, isLong: boolean): Frame {
    return { id: this.numFrames++, node, parent, isLong, pushed: new Map() };
  }

  /** Whether the only thing that can happen at a node is the return of its rule. */
  private isReturn(node: number): boolean {
    const { nodes, finals } = this.network;
    for (let at = node; at < nodes.length; ) {
      const { edges, epsilons, calls } = nodes[at]!;
      if (edges.length > 0 || calls.length > 0) return false;
      if (finals.has(at)) return true;
      if (epsilons.length !== 1 || epsilons[0] === node) return false;
      at = epsilons[0]!;
    }
    return false;
  }

  private intern(keys: readonly number[], nodes: number[], frames: Frame[], canEnd: boolean): State {
    const key = `${canEnd ? '.' : ''}${keys.join()}`;
    let state = this.states.get(key);
    if (state === undefined) {
      if (this.states.size >= MAX_STATES) this.forget();
      state = { nodes, frames, canEnd, next: new Array(this.network.numClasses) };
      this.states.set(key, state);
    }
    return state;
  }

  /** States that constraints still use stay alive through them. The same places, when found again, become new states. */
  private forget(): void {
    this.states = new Map();
    this.bottom.pushed.clear();
    this.start?.next.fill(undefined);
  }
}

const canLeave = (loop: Loop, node: number): boolean =>
  node === loop.free || (node !== loop.never && node - loop.first >= loop.min);

function nextTurn(loop: Loop, node: number): number | undefined {
  if (node === loop.free || node === loop.never) return node;
  const turns = node - loop.first;
  if (turns >= loop.max) return undefined;
  return loop.first + (loop.max === Number.POSITIVE_INFINITY ? Math.min(turns + 1, loop.min) : turns + 1);
}

/** Thrown where the same text can be read in thousands of ways at once. */
function ambiguous(): InvalidInputError {
  return new InvalidInputError(
    'The pattern or grammar is too ambiguous: after some texts it can be in thousands of places at once. Avoid repeats inside repeats that match the same text, such as (a*){0,1000} or .*.*x.{500}.',
  );
}
