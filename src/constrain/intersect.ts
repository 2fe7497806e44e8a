/** @file Finds the texts that match two expressions at once, such as a pattern and a length. Knows nothing of JSON. */
import { InvalidInputError } from '../errors.ts';
import {
  type CodeRange,
  complementRanges,
  EMPTY,
  type Expression,
  type GraphEdge,
  normalizeRanges,
} from './expression.ts';

/** For one expression, and for pairs of states of both. */
const MAX_STATES = 50_000;

/** States with edges over one character, or over none where `ranges` is undefined. State 0 is the start. */
interface CharacterGraph {
  readonly edges: { to: number; ranges: readonly CodeRange[] | undefined }[][];
  readonly final: number;
}

/**
 * The texts that match both. Neither may call rules.
 * @param where names the place in error messages
 */
export function intersect(a: Expression, b: Expression, where: string): Expression {
  const [left, right] = [characterGraph(a, where), characterGraph(b, where)];
  const numbers = new Map<number, number>();
  const pairs: [number, number][] = [];
  const numberOf = (i: number, j: number): number => {
    const key = i * right.edges.length + j;
    let number = numbers.get(key);
    if (number === undefined) {
      number = pairs.push([i, j]) - 1;
      if (number >= MAX_STATES) throw tooLarge(where);
      numbers.set(key, number);
    }
    return number;
  };
  numberOf(0, 0);
  const edges: GraphEdge[] = [];
  for (let from = 0; from < pairs.length; from++) {
    const [i, j] = pairs[from]!;
    for (const one of left.edges[i]!) {
      if (one.ranges === undefined) edges.push({ from, to: numberOf(one.to, j), item: EMPTY });
    }
    for (const other of right.edges[j]!) {
      if (other.ranges === undefined) edges.push({ from, to: numberOf(i, other.to), item: EMPTY });
    }
    for (const one of left.edges[i]!) {
      for (const other of right.edges[j]!) {
        if (one.ranges === undefined || other.ranges === undefined) continue;
        const ranges = common(one.ranges, other.ranges);
        if (ranges.length === 0) continue;
        edges.push({ from, to: numberOf(one.to, other.to), item: { kind: 'class', ranges } });
      }
    }
  }
  const final = numbers.get(left.final * right.edges.length + right.final);
  return { kind: 'graph', numStates: pairs.length, edges, finals: final === undefined ? [] : [final] };
}

function common(a: readonly CodeRange[], b: readonly CodeRange[]): CodeRange[] {
  if (a === b) return [...a];
  return complementRanges(normalizeRanges([...complementRanges(a), ...complementRanges(b)]));
}

function characterGraph(expression: Expression, where: string): CharacterGraph {
  const edges: CharacterGraph['edges'] = [[]];
  const newState = () => {
    if (edges.length >= MAX_STATES) throw tooLarge(where);
    return edges.push([]) - 1;
  };
  const connect = (from: number, to: number, ranges?: readonly CodeRange[]) =>
    edges[from]!.push({ to, ranges });
  const isolated = (item: Expression, from: number): number => {
    const start = newState();
    connect(from, start);
    return add(item, start);
  };
  const add = (item: Expression, from: number): number => {
    switch (item.kind) {
      case 'words': {
        const to = newState();
        for (const word of item.words) {
          let state = from;
          for (const char of word) {
            const next = newState();
            connect(state, next, [[char.codePointAt(0)!, char.codePointAt(0)!]]);
            state = next;
          }
          connect(state, to);
        }
        return to;
      }
      case 'class': {
        const to = newState();
        connect(from, to, item.ranges);
        return to;
      }
      case 'sequence':
        return item.items.reduce((state, part) => add(part, state), from);
      case 'choice': {
        const to = newState();
        for (const part of item.items) connect(add(part, from), to);
        return to;
      }
      case 'repeat': {
        const to = newState();
        let state = from;
        const isEndless = item.max === Number.POSITIVE_INFINITY;
        for (let i = 0; i < (isEndless ? item.min : item.max); i++) {
          if (i >= item.min) connect(state, to);
          state = isolated(item.item, state);
        }
        if (isEndless) {
          const loop = newState();
          connect(state, loop);
          connect(isolated(item.item, loop), loop);
          state = loop;
        }
        connect(state, to);
        return to;
      }
      case 'graph': {
        const states = Array.from({ length: item.numStates }, newState);
        const to = newState();
        connect(from, states[0]!);
        for (const { from: start, to: end, item: label } of item.edges) {
          if (label.kind === 'class') connect(states[start]!, states[end]!, label.ranges);
          else connect(isolated(label, states[start]!), states[end]!);
        }
        for (const final of item.finals) connect(states[final]!, to);
        return to;
      }
      case 'call':
        return add(item.rule.body, from);
      default:
        return item satisfies never;
    }
  };
  return { final: add(expression, 0), edges };
}

function tooLarge(where: string): InvalidInputError {
  return new InvalidInputError(
    `${where}: the keywords together need more than ${MAX_STATES} states. Use a smaller maxLength or a simpler pattern, or write the length into the pattern: ^[a-z]{1,20}$.`,
  );
}
