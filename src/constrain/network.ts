/**
 * @file Expressions as a network of nodes: edges over bytes, steps without a byte, calls of other rules, counted loops. Finds
 * rules that can never end and rules that call themselves before any text. Knows nothing of states or tokens.
 */
import { InvalidInputError } from '../errors.ts';
import { type Expression, maxBytes, type Rule } from './expression.ts';
import { type ByteRange, utf8Sequences } from './utf8-ranges.ts';

/** Some hundred bytes a node: a grammar of more is an attack or a mistake. */
const MAX_NODES = 200_000;
/** Loops with more turns than this count them where others are written out. */
const MAX_COPIES = 4;
/** A class of more ranges is built once. */
const MAX_COPIED_RANGES = 16;
/** A loop over something that may be empty has all its turns in one state. */
const MAX_EMPTY_TURNS = 256;
/** A called rule that can be longer gets its own masks, independent of who called it. */
const MAX_INLINE_BYTES = 16;

/** A call of a rule, and where it goes on. */
export interface Call {
  readonly rule: number;
  readonly returnTo: number;
}

/**
 * `min` to `max` turns of a rule. Its nodes exist by their numbers only: `first + i` after i turns, then `never` (so many
 * turns to go that no token reaches the end) and `free` (it may end at any turn, and go on for longer than any token).
 */
export interface Loop {
  readonly first: number;
  readonly rule: number;
  readonly min: number;
  /** Infinity: after `min` turns they are no longer counted. */
  max: number;
  readonly exit: number;
  readonly never: number;
  readonly free: number;
}

interface Node {
  /** Triples: first byte class, last byte class, next node. */
  edges: number[];
  epsilons: number[];
  calls: Call[];
}

export interface Network {
  readonly nodes: readonly Node[];
  readonly loops: readonly Loop[];
  /** Of all rules; rule 0 is the start. */
  readonly entries: readonly number[];
  readonly finals: ReadonlySet<number>;
  /** Whether the rule can be long (see MAX_INLINE_BYTES). */
  readonly isLong: readonly boolean[];
  readonly classOfByte: Uint8Array;
  readonly numClasses: number;
  /** One more than the highest node, those of loops included. */
  readonly numPositions: number;
}

/** The loop that a node belongs to. @param node one from `nodes.length` on */
export function loopOf({ loops }: Network, node: number): Loop {
  let low = 0;
  let high = loops.length - 1;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (loops[middle]!.first <= node) low = middle;
    else high = middle - 1;
  }
  return loops[low]!;
}

/** @throws InvalidInputError where nothing matches, a rule calls itself before any text, or the network would be too large. */
export function buildNetwork(start: Rule): Network {
  const builder = new Builder();
  builder.ruleNumber(start);
  builder.buildRules();
  return builder.finish();
}

class Builder {
  private readonly nodes: Node[] = [];
  private readonly loops: (Loop & { numNodes: number })[] = [];
  private readonly rules: Rule[] = [];
  private readonly numbers = new Map<Rule, number>();
  private readonly classes = new Map<string, Rule>();
  private readonly lengths = new Map<Rule, number>();
  private readonly entries: number[] = [];
  private readonly finalOf: number[] = [];
  private readonly isLong: boolean[] = [];

  ruleNumber(rule: Rule): number {
    const known = this.numbers.get(rule);
    if (known !== undefined) return known;
    const number = this.rules.push(rule) - 1;
    this.numbers.set(rule, number);
    this.isLong.push(maxBytes(rule.body, this.lengths) > MAX_INLINE_BYTES);
    this.entries.push(this.newNode());
    this.finalOf.push(this.newNode());
    return number;
  }

  /** Building a rule may find further ones, which come after it in the list. */
  buildRules(): void {
    for (let i = 0; i < this.rules.length; i++) {
      const { body } = this.rules[i]!;
      const entry = this.entries[i]!;
      const end = body.kind === 'class' ? this.addClass(body, entry, true) : this.add(body, entry);
      this.nodes[end]!.epsilons.push(this.finalOf[i]!);
    }
  }

  private newNode(): number {
    if (this.nodes.length >= MAX_NODES) {
      throw new InvalidInputError(
        `The schema, pattern or grammar is too large: it takes more than ${MAX_NODES} nodes. Use fewer or shorter enums, fewer properties, or smaller repeats.`,
      );
    }
    return this.nodes.push({ edges: [], epsilons: [], calls: [] }) - 1;
  }

  /** Adds what matches `expression` from the node `from` on, which gets edges out but none in; returns the node at its end. */
  private add(expression: Expression, from: number): number {
    switch (expression.kind) {
      case 'words':
        return this.addWords(expression.words, from);
      case 'class':
        return this.addClass(expression, from);
      case 'sequence':
        return expression.items.reduce((node, item) => this.add(item, node), from);
      case 'choice': {
        const to = this.newNode();
        for (const item of expression.items) this.nodes[this.add(item, from)]!.epsilons.push(to);
        return to;
      }
      case 'repeat':
        return this.addRepeat(expression.item, expression.min, expression.max, from);
      case 'call': {
        const returnTo = this.newNode();
        this.nodes[from]!.calls.push({ rule: this.ruleNumber(expression.rule), returnTo });
        return returnTo;
      }
      case 'graph': {
        const nodes = Array.from({ length: expression.numStates }, () => this.newNode());
        const to = this.newNode();
        this.nodes[from]!.epsilons.push(nodes[0]!);
        for (const { from: start, to: end, item } of expression.edges) {
          if (item.kind === 'class' && item.ranges.length <= MAX_COPIED_RANGES) {
            this.addSequences(utf8Sequences(item.ranges), nodes[start]!, nodes[end]!, new Map());
          } else {
            this.nodes[this.add(item, nodes[start]!)]!.epsilons.push(nodes[end]!);
          }
        }
        for (const final of expression.finals) this.nodes[nodes[final]!]!.epsilons.push(to);
        return to;
      }
      default:
        return expression satisfies never;
    }
  }

  /** A large class is a rule, built once for all its uses. */
  private addClass(expression: Expression & { kind: 'class' }, from: number, isBody = false): number {
    const { ranges } = expression;
    if (ranges.length > MAX_COPIED_RANGES) {
      const key = ranges.join();
      const rule = this.classes.get(key) ?? { name: 'a class of characters', body: expression };
      this.classes.set(key, rule);
      if (!isBody) return this.add({ kind: 'call', rule }, from);
    }
    const to = this.newNode();
    this.addSequences(utf8Sequences(ranges), from, to, new Map());
    return to;
  }

  /** As a trie, so that thousands of words begin with one edge and not with thousands. */
  private addWords(texts: readonly string[], from: number): number {
    const utf8 = new TextEncoder();
    const to = this.newNode();
    const children = new Map<number, number>();
    for (const text of texts) {
      let node = from;
      for (const byte of utf8.encode(text)) {
        let child = children.get(node * 256 + byte);
        if (child === undefined) {
          child = this.newNode();
          children.set(node * 256 + byte, child);
          this.nodes[node]!.edges.push(byte, byte, child);
        }
        node = child;
      }
      this.nodes[node]!.epsilons.push(to);
    }
    return to;
  }

  /** Adds sequences between two nodes; equal remainders share their nodes. */
  private addSequences(
    sequences: readonly ByteRange[][],
    from: number,
    to: number,
    shared: Map<string, number>,
  ): void {
    const groups = new Map<string, { first: ByteRange; rests: ByteRange[][] }>();
    for (const [first, ...rest] of sequences) {
      const key = first!.join();
      const group = groups.get(key) ?? { first: first!, rests: [] };
      group.rests.push(rest);
      groups.set(key, group);
    }
    for (const { first, rests } of groups.values()) {
      let target = to;
      if (rests[0]!.length > 0) {
        const key = rests.join(';');
        target = shared.get(key) ?? this.newNode();
        if (!shared.has(key)) {
          shared.set(key, target);
          this.addSequences(rests, target, to, shared);
        }
      }
      this.nodes[from]!.edges.push(first[0], first[1], target);
    }
  }

  private addRepeat(item: Expression, min: number, max: number, from: number): number {
    if (max === 0) return from;
    if (min <= 1 && max === Number.POSITIVE_INFINITY) {
      const start = min === 1 ? this.add(item, from) : from;
      const loop = this.newNode();
      this.nodes[start]!.epsilons.push(loop);
      this.nodes[this.add(item, loop)]!.epsilons.push(loop);
      return loop;
    }
    if (max <= MAX_COPIES) {
      const to = this.newNode();
      let node = from;
      for (let i = 0; i < max; i++) {
        if (i >= min) this.nodes[node]!.epsilons.push(to);
        node = this.add(item, node);
      }
      this.nodes[node]!.epsilons.push(to);
      return to;
    }
    const exit = this.newNode();
    const rule = this.ruleNumber({ name: 'the repeated part', body: item });
    const numNodes = (max === Number.POSITIVE_INFINITY ? min : max) + 3;
    const loop = { first: 0, rule, min, max, exit, never: 0, free: 0, numNodes };
    this.loops.push(loop);
    // Their real numbers come after all other nodes and are known in the end.
    this.nodes[from]!.epsilons.push(-this.loops.length);
    return exit;
  }

  finish(): Network {
    let numPositions = this.nodes.length;
    const loops = this.loops.map(({ numNodes, ...loop }) => {
      const first = numPositions;
      numPositions += numNodes;
      return { ...loop, first, never: numPositions - 2, free: numPositions - 1 };
    });
    for (const node of this.nodes) {
      node.epsilons = node.epsilons.map((target) => (target < 0 ? loops[-target - 1]!.first : target));
    }
    const { classOfByte, numClasses } = this.numberClasses();
    const network: Network = {
      nodes: this.nodes,
      loops,
      entries: this.entries,
      finals: new Set(this.finalOf),
      isLong: this.isLong,
      classOfByte,
      numClasses,
      numPositions,
    };
    this.removeDeadEnds(network);
    const nullable = this.nullableRules(network);
    this.rejectLeftRecursion(network, nullable);
    for (const loop of loops) {
      const turns = loop.max === Number.POSITIVE_INFINITY ? loop.min : loop.max;
      if (nullable.has(loop.rule) && turns > MAX_EMPTY_TURNS) {
        throw new InvalidInputError(
          `A part that may be empty is repeated up to ${turns} times; at most ${MAX_EMPTY_TURNS} are possible. Make the part non-empty: (a?){0,1000} is a{0,1000}.`,
        );
      }
    }
    return network;
  }

  /** Bytes that no edge tells apart share a class; edges are rewritten to classes. */
  private numberClasses(): { classOfByte: Uint8Array; numClasses: number } {
    const isStart = new Uint8Array(257);
    for (const { edges } of this.nodes) {
      for (let i = 0; i < edges.length; i += 3) {
        isStart[edges[i]!] = 1;
        isStart[edges[i + 1]! + 1] = 1;
      }
    }
    const classOfByte = new Uint8Array(256);
    let last = 0;
    for (let byte = 1; byte < 256; byte++) {
      last += isStart[byte]!;
      classOfByte[byte] = last;
    }
    for (const { edges } of this.nodes) {
      for (let i = 0; i < edges.length; i += 3) {
        edges[i] = classOfByte[edges[i]!]!;
        edges[i + 1] = classOfByte[edges[i + 1]!]!;
      }
    }
    return { classOfByte, numClasses: last + 1 };
  }

  /** Removes whatever leads to nodes from which the end of their rule cannot be reached, so that every state can be finished. */
  private removeDeadEnds(network: Network): void {
    const { nodes, loops, entries } = network;
    const isAlive = new Uint8Array(nodes.length);
    for (const final of network.finals) isAlive[final] = 1;
    const isRuleAlive = (rule: number) => isAlive[entries[rule]!] === 1;
    const isNodeAlive = (node: number): boolean => {
      if (node < nodes.length) return isAlive[node] === 1;
      const loop = loopOf(network, node);
      return isAlive[loop.exit] === 1 && (loop.min === 0 || isRuleAlive(loop.rule));
    };
    const isCallAlive = ({ rule, returnTo }: Call) => isAlive[returnTo] === 1 && isRuleAlive(rule);
    for (let isChanged = true; isChanged; ) {
      isChanged = false;
      // Nodes are made in reading order, so that the way back from the end takes few rounds.
      for (let i = nodes.length - 1; i >= 0; i--) {
        if (isAlive[i] === 1) continue;
        const { edges, epsilons, calls } = nodes[i]!;
        let isFound = epsilons.some(isNodeAlive) || calls.some(isCallAlive);
        for (let edge = 0; edge < edges.length && !isFound; edge += 3) {
          isFound = isAlive[edges[edge + 2]!] === 1;
        }
        if (!isFound) continue;
        isAlive[i] = 1;
        isChanged = true;
      }
    }
    if (!isRuleAlive(0)) {
      const dead = this.rules.filter((_, i) => !isRuleAlive(i)).map(({ name }) => name);
      throw new InvalidInputError(
        `Nothing can match ${dead.at(-1)}: every way through it is impossible or never ends. Check contradicting limits, empty enums, and rules or references that always need themselves.`,
      );
    }
    for (const node of nodes) {
      node.edges = node.edges.filter((_, i) => isAlive[node.edges[i - (i % 3) + 2]!] === 1);
      node.epsilons = node.epsilons.filter(isNodeAlive);
      node.calls = node.calls.filter(isCallAlive);
    }
    for (const loop of loops) if (!isRuleAlive(loop.rule)) loop.max = 0;
  }

  private nullableRules(network: Network): Set<number> {
    const nullable = new Set<number>();
    for (let isChanged = true; isChanged; ) {
      isChanged = false;
      for (let rule = 0; rule < this.rules.length; rule++) {
        if (nullable.has(rule) || !this.reach(network, rule, nullable).has(this.finalOf[rule]!)) continue;
        nullable.add(rule);
        isChanged = true;
      }
    }
    return nullable;
  }

  /** The nodes that a rule reaches before any byte; `onCall` gets the rules it calls there. */
  private reach(
    network: Network,
    rule: number,
    nullable: ReadonlySet<number>,
    onCall?: (rule: number) => void,
  ): Set<number> {
    const seen = new Set<number>();
    const open = [this.entries[rule]!];
    for (let node = open.pop(); node !== undefined; node = open.pop()) {
      if (seen.has(node)) continue;
      seen.add(node);
      if (node >= network.nodes.length) {
        const loop = loopOf(network, node);
        if (loop.max > 0) onCall?.(loop.rule);
        if (loop.min === 0 || nullable.has(loop.rule)) open.push(loop.exit);
        continue;
      }
      const { epsilons, calls } = network.nodes[node]!;
      open.push(...epsilons);
      for (const { rule: called, returnTo } of calls) {
        onCall?.(called);
        if (nullable.has(called)) open.push(returnTo);
      }
    }
    return seen;
  }

  private rejectLeftRecursion(network: Network, nullable: ReadonlySet<number>): void {
    const calls = this.rules.map((_, rule) => {
      const called = new Set<number>();
      this.reach(network, rule, nullable, (other) => called.add(other));
      return [...called];
    });
    const isDone = new Uint8Array(calls.length);
    for (let root = 0; root < calls.length; root++) {
      const path = [{ rule: root, next: 0 }];
      const onPath = new Set([root]);
      while (path.length > 0 && !isDone[root]) {
        const top = path.at(-1)!;
        const called = calls[top.rule]![top.next++];
        if (called === undefined) {
          isDone[top.rule] = 1;
          onPath.delete(top.rule);
          path.pop();
        } else if (onPath.has(called)) {
          const names = path.slice(path.findIndex(({ rule }) => rule === called)).map(({ rule }) => rule);
          const cycle = [...names, called].map((number) => this.rules[number]!.name).join(' -> ');
          throw new InvalidInputError(
            `${this.rules[called]!.name} is left-recursive: it calls itself before any text (${cycle}). Put the recursion after some text: list ::= item ("," item)* in place of list ::= list "," item | item, or a $ref inside a property or an item.`,
          );
        } else if (!isDone[called]) {
          path.push({ rule: called, next: 0 });
          onPath.add(called);
        }
      }
    }
  }
}
