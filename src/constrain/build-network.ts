/**
 * @file Builds the network of a rule and all that it calls. It must not know which networks are of use, which check-network.ts does.
 */
import { InvalidInputError } from '../errors.ts';
import { checkNetwork } from './check-network.ts';
import { type Expression, maxBytes, type Rule } from './expression.ts';
import type { Loop, Network, Node } from './network.ts';
import { type ByteRange, utf8Sequences } from './utf8-ranges.ts';

/** A node takes some hundred bytes. A grammar with more nodes is an attack or a mistake. */
const MAX_NODES = 200_000;
/** Loops with more turns than this are counted; others are written out. */
const MAX_COPIES = 4;
/** A class with more ranges than this is built only once. */
const MAX_COPIED_RANGES = 16;
/** A called rule that can be longer gets its own masks, whatever calls it. */
const MAX_INLINE_BYTES = 16;

/** @throws InvalidInputError where nothing matches, a rule calls itself before any text, or the network would be too large. */
export function buildNetwork(start: Rule): Network {
  const builder = new Builder();
  builder.ruleNumber(start);
  builder.buildRules();
  return builder.finish();
}

class Builder {
  readonly #nodes: Node[] = [];
  readonly #loops: (Loop & { numNodes: number })[] = [];
  readonly #rules: Rule[] = [];
  readonly #numbers = new Map<Rule, number>();
  readonly #classes = new Map<string, Rule>();
  readonly #lengths = new Map<Rule, number>();
  readonly #entries: number[] = [];
  readonly #finalOf: number[] = [];
  readonly #isLong: boolean[] = [];

  ruleNumber(rule: Rule): number {
    const known = this.#numbers.get(rule);
    if (known !== undefined) return known;
    const number = this.#rules.push(rule) - 1;
    this.#numbers.set(rule, number);
    this.#isLong.push(maxBytes(rule.body, this.#lengths) > MAX_INLINE_BYTES);
    this.#entries.push(this.#newNode());
    this.#finalOf.push(this.#newNode());
    return number;
  }

  /** Building a rule may find more rules, which are added at the end of the list. */
  buildRules(): void {
    for (let i = 0; i < this.#rules.length; i++) {
      const { body } = this.#rules[i]!;
      const entry = this.#entries[i]!;
      const end = body.kind === 'class' ? this.#addClass(body, entry, true) : this.#add(body, entry);
      this.#nodes[end]!.epsilons.push(this.#finalOf[i]!);
    }
  }

  #newNode(): number {
    if (this.#nodes.length >= MAX_NODES) {
      throw new InvalidInputError(
        `The schema, pattern or grammar is too large: it takes more than ${MAX_NODES} nodes. Use fewer or shorter enums, fewer properties, or smaller repeats.`,
      );
    }
    return this.#nodes.push({ edges: [], epsilons: [], calls: [] }) - 1;
  }

  /** Adds what matches `expression` from the node `from` on, which gets edges out but none in; returns the node at its end. */
  #add(expression: Expression, from: number): number {
    switch (expression.kind) {
      case 'words':
        return this.#addWords(expression.words, from);
      case 'class':
        return this.#addClass(expression, from);
      case 'sequence':
        return expression.items.reduce((node, item) => this.#add(item, node), from);
      case 'choice': {
        const to = this.#newNode();
        for (const item of expression.items) this.#nodes[this.#add(item, from)]!.epsilons.push(to);
        return to;
      }
      case 'repeat':
        return this.#addRepeat(expression.item, expression.min, expression.max, from);
      case 'call': {
        const returnTo = this.#newNode();
        this.#nodes[from]!.calls.push({ rule: this.ruleNumber(expression.rule), returnTo });
        return returnTo;
      }
      case 'graph': {
        const nodes = Array.from({ length: expression.numStates }, () => this.#newNode());
        const to = this.#newNode();
        this.#nodes[from]!.epsilons.push(nodes[0]!);
        for (const { from: start, to: end, item } of expression.edges) {
          if (item.kind === 'class' && item.ranges.length <= MAX_COPIED_RANGES) {
            this.#addSequences(utf8Sequences(item.ranges), nodes[start]!, nodes[end]!, new Map());
          } else {
            this.#nodes[this.#add(item, nodes[start]!)]!.epsilons.push(nodes[end]!);
          }
        }
        for (const final of expression.finals) this.#nodes[nodes[final]!]!.epsilons.push(to);
        return to;
      }
      default:
        return expression satisfies never;
    }
  }

  /** A large class becomes a rule, built once for all its uses. */
  #addClass(expression: Expression & { kind: 'class' }, from: number, isBody = false): number {
    const { ranges } = expression;
    if (ranges.length > MAX_COPIED_RANGES) {
      const key = ranges.join();
      const rule = this.#classes.get(key) ?? { name: 'a class of characters', body: expression };
      this.#classes.set(key, rule);
      if (!isBody) return this.#add({ kind: 'call', rule }, from);
    }
    const to = this.#newNode();
    this.#addSequences(utf8Sequences(ranges), from, to, new Map());
    return to;
  }

  /** Words as a trie, so that thousands of them begin with one edge and not with thousands. */
  #addWords(texts: readonly string[], from: number): number {
    const utf8 = new TextEncoder();
    const to = this.#newNode();
    const children = new Map<number, number>();
    for (const text of texts) {
      let node = from;
      for (const byte of utf8.encode(text)) {
        let child = children.get(node * 256 + byte);
        if (child === undefined) {
          child = this.#newNode();
          children.set(node * 256 + byte, child);
          this.#nodes[node]!.edges.push(byte, byte, child);
        }
        node = child;
      }
      this.#nodes[node]!.epsilons.push(to);
    }
    return to;
  }

  /** Adds sequences between two nodes; equal ends share their nodes. */
  #addSequences(
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
        target = shared.get(key) ?? this.#newNode();
        if (!shared.has(key)) {
          shared.set(key, target);
          this.#addSequences(rests, target, to, shared);
        }
      }
      this.#nodes[from]!.edges.push(first[0], first[1], target);
    }
  }

  #addRepeat(item: Expression, min: number, max: number, from: number): number {
    if (max === 0) return from;
    if (min <= 1 && max === Number.POSITIVE_INFINITY) {
      const start = min === 1 ? this.#add(item, from) : from;
      const loop = this.#newNode();
      this.#nodes[start]!.epsilons.push(loop);
      this.#nodes[this.#add(item, loop)]!.epsilons.push(loop);
      return loop;
    }
    if (max <= MAX_COPIES) {
      const to = this.#newNode();
      let node = from;
      for (let i = 0; i < max; i++) {
        if (i >= min) this.#nodes[node]!.epsilons.push(to);
        node = this.#add(item, node);
      }
      this.#nodes[node]!.epsilons.push(to);
      return to;
    }
    const exit = this.#newNode();
    const rule = this.ruleNumber({ name: 'the repeated part', body: item });
    const numNodes = (max === Number.POSITIVE_INFINITY ? min : max) + 3;
    const loop = { first: 0, rule, min, max, exit, never: 0, free: 0, numNodes };
    this.#loops.push(loop);
    // Their real numbers come after all other nodes, and are known only when all are built.
    this.#nodes[from]!.epsilons.push(-this.#loops.length);
    return exit;
  }

  finish(): Network {
    let numPositions = this.#nodes.length;
    const loops = this.#loops.map(({ numNodes, ...loop }) => {
      const first = numPositions;
      numPositions += numNodes;
      return { ...loop, first, never: numPositions - 2, free: numPositions - 1 };
    });
    for (const node of this.#nodes) {
      node.epsilons = node.epsilons.map((target) => (target < 0 ? loops[-target - 1]!.first : target));
    }
    const { classOfByte, numClasses } = this.#numberClasses();
    const network: Network = {
      nodes: this.#nodes,
      loops,
      entries: this.#entries,
      finals: new Set(this.#finalOf),
      isLong: this.#isLong,
      classOfByte,
      numClasses,
      numPositions,
    };
    checkNetwork(network, this.#rules, this.#finalOf);
    return network;
  }

  /** Bytes that all edges treat alike share a class; edges are rewritten to classes. */
  #numberClasses(): { classOfByte: Uint8Array; numClasses: number } {
    const isStart = new Uint8Array(257);
    for (const { edges } of this.#nodes) {
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
    for (const { edges } of this.#nodes) {
      for (let i = 0; i < edges.length; i += 3) {
        edges[i] = classOfByte[edges[i]!]!;
        edges[i + 1] = classOfByte[edges[i + 1]!]!;
      }
    }
    return { classOfByte, numClasses: last + 1 };
  }
}
