/**
 * @file What a network must be to be of use: removes what never ends, and refuses rules that nothing matches, rules that call
 * themselves before any text, and long loops over what may be empty.
 */
import { InvalidInputError } from '../errors.ts';
import type { Rule } from './expression.ts';
import { type Call, loopOf, type Network } from './network.ts';

/** A loop over something that may be empty has all its turns in one state, so their number is limited. */
const MAX_EMPTY_TURNS = 256;

/**
 * Removes dead ends from a network. `rules` and `finals` are its rules by number, and the node at the end of each.
 * @throws InvalidInputError naming the rule that is at fault
 */
export function checkNetwork(network: Network, rules: readonly Rule[], finals: readonly number[]): void {
  removeDeadEnds(network, rules);
  const nullable = nullableRules(network, finals);
  rejectLeftRecursion(network, rules, nullable);
  for (const loop of network.loops) {
    const turns = loop.max === Number.POSITIVE_INFINITY ? loop.min : loop.max;
    if (nullable.has(loop.rule) && turns > MAX_EMPTY_TURNS) {
      throw new InvalidInputError(
        `A part that may be empty is repeated up to ${turns} times; at most ${MAX_EMPTY_TURNS} are possible. Make the part non-empty: (a?){0,1000} is a{0,1000}.`,
      );
    }
  }
}

/** Removes everything that leads to nodes from which their rule cannot end, so that every state can be finished. */
function removeDeadEnds(network: Network, rules: readonly Rule[]): void {
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
    // Nodes are numbered in reading order, so going backwards from the end takes few rounds.
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
    const dead = rules.filter((_, i) => !isRuleAlive(i)).map(({ name }) => name);
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

function nullableRules(network: Network, finals: readonly number[]): Set<number> {
  const nullable = new Set<number>();
  for (let isChanged = true; isChanged; ) {
    isChanged = false;
    for (let rule = 0; rule < finals.length; rule++) {
      if (nullable.has(rule) || !reach(network, rule, nullable).has(finals[rule]!)) continue;
      nullable.add(rule);
      isChanged = true;
    }
  }
  return nullable;
}

/** The nodes that a rule reaches before any byte; `onCall` gets the rules it calls there. */
function reach(
  network: Network,
  rule: number,
  nullable: ReadonlySet<number>,
  onCall?: (rule: number) => void,
): Set<number> {
  const seen = new Set<number>();
  const open = [network.entries[rule]!];
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

function rejectLeftRecursion(network: Network, rules: readonly Rule[], nullable: ReadonlySet<number>): void {
  const calls = rules.map((_, rule) => {
    const called = new Set<number>();
    reach(network, rule, nullable, (other) => called.add(other));
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
        const cycle = [...names, called].map((number) => rules[number]!.name).join(' -> ');
        throw new InvalidInputError(
          `${rules[called]!.name} is left-recursive: it calls itself before any text (${cycle}). Put the recursion after some text: list ::= item ("," item)* in place of list ::= list "," item | item, or a $ref inside a property or an item.`,
        );
      } else if (!isDone[called]) {
        path.push({ rule: called, next: 0 });
        onPath.add(called);
      }
    }
  }
}
