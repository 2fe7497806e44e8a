/**
 * @file Which blocks of the KV cache belong to which sequence: allocation, reference counts, and the tree of computed prefixes that any
 * sequence may take up. Host data only: it must not know buffers, passes or sampling.
 *
 * A node of the tree is a block of ids after those of its parent, with the block of each layer group that holds their keys and values.
 * The root depends on a salt and on the angles: on everything but ids that a block's content depends on. Blocks that nobody uses stay in the tree until
 * somebody needs one: the least recently used go first, the last of a sequence before the ones it needs to be of use.
 */
import { BLOCK_LENGTH } from '../../graph/batch.ts';

/** Blocks of a window that a sequence holds beside those of its positions: one more that they may touch, and one to go back to. */
const WINDOW_SLACK = 2;

/** Blocks of a window that a sequence holds at most, while `rows` of its positions are computed. */
export const windowBlocks = (window: number, rows: number): number =>
  Math.ceil((window + rows) / BLOCK_LENGTH) + WINDOW_SLACK;

/** The first position that the row at `position` sees. */
const seenFrom = (window: number | undefined, position: number): number =>
  window === undefined ? 0 : Math.max(0, position - window + 1);

/** What wrote a position: the program for chunks of prompts, or those for few rows. Their rounding differs. */
export type Written = 'c' | 'r';

/** A block of computed ids. */
interface Node {
  readonly parent: Node | undefined;
  ids: readonly number[];
  /** A letter for each id. */
  written: string;
  /** By layer group; undefined where the block was given away. */
  readonly blocks: (number | undefined)[];
  readonly children: Set<Node>;
}

/** The blocks of one sequence. */
export interface BlockTable {
  /** By layer group, then by position / BLOCK_LENGTH; undefined below what a window still needs. */
  readonly blocks: (number | undefined)[][];
  /** The nodes of its full blocks, as far as they are known to others. */
  readonly nodes: Node[];
  /** Of its last block, which is not full. */
  tail: Node | undefined;
  /**
   * Another sequence has published the same ids, computed by another kind of pass. What follows them here is not published, since whoever
   * found it would get other bits.
   */
  isPrivate: boolean;
  readonly root: Node;
}

/** What a sequence can take up. */
export interface Found {
  /** Positions. */
  readonly length: number;
  /** What wrote each. */
  readonly written: string;
  readonly nodes: readonly Node[];
  /** A block of which only the first positions are of use: it is copied. */
  readonly partial: Node | undefined;
}

/** A block to be copied to another of the same group. */
export interface BlockCopy {
  readonly group: number;
  readonly from: number;
  readonly to: number;
}

/** The blocks of one layer group. */
interface Group {
  readonly window: number | undefined;
  /** Blocks that exist, and may exist at most. */
  capacity: number;
  limit: number;
  readonly free: number[];
  /** Sequences that use each block. */
  readonly references: number[];
  readonly nodeOf: (Node | undefined)[];
  /** In the tree, used by nobody: in the order in which they may be given away. */
  readonly idle: Set<number>;
}

export interface KvPoolOptions {
  /** By group. */
  readonly windows: readonly (number | undefined)[];
  /** Blocks at most, by group. */
  readonly limits: readonly number[];
  /** False: nobody takes up what others have computed. Default: true. */
  readonly sharing?: boolean | undefined;
}

/** Salts whose roots are kept although nothing begins there. */
const MAX_ROOTS = 256;

export class KvPool {
  readonly #groups: Group[];
  readonly #roots = new Map<string, Node>();
  readonly #sharing: boolean;

  constructor({ windows, limits, sharing = true }: KvPoolOptions) {
    this.#sharing = sharing;
    this.#groups = windows.map((window, i) => ({
      window,
      capacity: 0,
      limit: limits[i]!,
      free: [],
      references: [],
      nodeOf: [],
      idle: new Set(),
    }));
  }

  /** Blocks that exist in each group, and how many of them some sequence uses. */
  get usage(): { capacity: number; used: number; idle: number; limit: number }[] {
    return this.#groups.map(({ capacity, free, idle, limit }) => ({
      capacity,
      used: capacity - free.length - idle.size,
      idle: idle.size,
      limit,
    }));
  }

  /** @param isLong whether the keys are those of a sequence so long that its angles are others */
  newTable(salt = '', isLong = false): BlockTable {
    const key = `${Number(isLong)} ${salt}`;
    let root = this.#roots.get(key);
    if (!root) {
      if (this.#roots.size >= MAX_ROOTS) this.#dropEmptyRoots();
      root = { parent: undefined, ids: [], written: '', blocks: [], children: new Set() };
      this.#roots.set(key, root);
    }
    return { blocks: this.#groups.map(() => []), nodes: [], tail: undefined, isPrivate: false, root };
  }

  #dropEmptyRoots(): void {
    for (const [key, { children }] of this.#roots) if (children.size === 0) this.#roots.delete(key);
  }

  /** There are more blocks now. */
  grown(group: number, capacity: number): void {
    const g = this.#groups[group]!;
    for (let block = capacity - 1; block >= g.capacity; block--) {
      g.free.push(block);
      g.references[block] = 0;
    }
    g.capacity = capacity;
  }

  /** There is no memory for more blocks than there are. */
  stopGrowing(): void {
    for (const group of this.#groups) group.limit = group.capacity;
  }

  /** Blocks of a group that a sequence of so many positions holds at a time, while `rows` of them are computed. */
  blocksFor(group: number, positions: number, rows: number): number {
    const { window } = this.#groups[group]!;
    const all = Math.ceil(positions / BLOCK_LENGTH);
    return window === undefined ? all : Math.min(all, windowBlocks(window, rows));
  }

  /** Blocks of a group that can be had: free ones, idle ones, and those that may yet be made. */
  available(group: number): number {
    const { free, idle, limit, capacity } = this.#groups[group]!;
    return free.length + idle.size + Math.max(0, limit - capacity);
  }

  /** Whether anybody takes up what others have computed. */
  get isShared(): boolean {
    return this.#sharing;
  }

  /** Blocks of a group that taking this up gives, without the one that is copied. */
  takenOf({ length, nodes }: Found, group: number): number {
    const { window } = this.#groups[group]!;
    const from = seenFrom(window, length);
    return nodes.filter((_, i) => (i + 1) * BLOCK_LENGTH > from).length;
  }

  /** Blocks of a group that nobody uses but who takes this up. */
  idleOf({ nodes, partial }: Found, group: number): number {
    const { idle } = this.#groups[group]!;
    const isIdle = (node: Node): boolean => node.blocks[group] !== undefined && idle.has(node.blocks[group]);
    return [...nodes, ...(partial ? [partial] : [])].filter(isIdle).length;
  }

  /**
   * The longest prefix of some ids that is there, at most `most` positions. `written`: only what was written in this way.
   */
  find(ids: readonly number[], most: number, root: Node, written?: string): Found {
    const nodes: Node[] = [];
    let parent = root;
    let partial: { node: Node; length: number } | undefined;
    while (this.#sharing) {
      const begin = nodes.length * BLOCK_LENGTH;
      let best: { node: Node; length: number } | undefined;
      for (const node of parent.children) {
        const length = Math.min(commonLength(node, ids, begin, written), most - begin);
        if (length > (best?.length ?? 0)) best = { node, length };
      }
      if (best?.length !== BLOCK_LENGTH) {
        partial = best;
        break;
      }
      nodes.push(best.node);
      parent = best.node;
    }
    return this.#usable(nodes, partial);
  }

  /** A window needs the blocks before the end. */
  #usable(nodes: Node[], partial: { node: Node; length: number } | undefined): Found {
    const has = (length: number): boolean =>
      this.#groups.every(({ window }, g) => {
        const from = seenFrom(window, length);
        const chain = [...nodes, ...(partial ? [partial.node] : [])];
        for (let i = Math.floor(from / BLOCK_LENGTH); i * BLOCK_LENGTH < length; i++) {
          if (chain[i]!.blocks[g] === undefined) return false;
        }
        return true;
      });
    const full = nodes.length * BLOCK_LENGTH;
    if (partial && has(full + partial.length)) {
      const written = nodes.map((n) => n.written).join('') + partial.node.written.slice(0, partial.length);
      return { length: full + partial.length, written, nodes, partial: partial.node };
    }
    let count = nodes.length;
    while (count > 0 && !has(count * BLOCK_LENGTH)) count--;
    const kept = nodes.slice(0, count);
    const written = kept.map((n) => n.written).join('');
    return { length: count * BLOCK_LENGTH, written, nodes: kept, partial: undefined };
  }

  /** A new table begins with what was found. Undefined: there is no block for a copy, and nothing was taken. */
  take(table: BlockTable, { length, nodes, partial }: Found): BlockCopy[] | undefined {
    const copies: BlockCopy[] = [];
    this.#groups.forEach((group, g) => {
      const from = seenFrom(group.window, length);
      nodes.forEach((node, i) => {
        const isNeeded = (i + 1) * BLOCK_LENGTH > from;
        table.blocks[g]!.push(isNeeded ? this.#use(group, node.blocks[g]!) : undefined);
      });
    });
    table.nodes.push(...nodes);
    if (!partial) return copies;
    for (const [g, group] of this.#groups.entries()) {
      const from = partial.blocks[g];
      const to = from === undefined ? undefined : this.#allocate(group, from);
      if (from !== undefined && to === undefined) {
        this.release(table);
        return undefined;
      }
      table.blocks[g]!.push(to);
      if (from !== undefined) copies.push({ group: g, from, to: to! });
    }
    return copies;
  }

  /** Blocks for so many positions, as far as they can be had without making more; whether all could. */
  extend(table: BlockTable, length: number): boolean {
    return this.#groups.every((group, g) => {
      const blocks = table.blocks[g]!;
      while (blocks.length * BLOCK_LENGTH < length) {
        const block = this.#allocate(group);
        if (block === undefined) return false;
        blocks.push(block);
      }
      return true;
    });
  }

  /** Frees the blocks that no row from `position` on can see; one block more is kept, so that a sequence may go back a little. */
  leaveWindows(table: BlockTable, position: number): void {
    for (const [g, group] of this.#groups.entries()) {
      if (group.window === undefined) continue;
      const end = Math.floor((position - group.window + 1) / BLOCK_LENGTH) - 1;
      const blocks = table.blocks[g]!;
      for (let i = end - 1; i >= 0 && blocks[i] !== undefined; i--) {
        this.#leave(group, blocks[i]!);
        blocks[i] = undefined;
      }
    }
  }

  /** Lets others find what a sequence has computed: its first `length` positions. */
  publish(table: BlockTable, ids: readonly number[], written: readonly Written[], length: number): void {
    if (!this.#sharing) return;
    while (!table.isPrivate && (table.nodes.length + 1) * BLOCK_LENGTH <= length) {
      const begin = table.nodes.length * BLOCK_LENGTH;
      const end = begin + BLOCK_LENGTH;
      const node = this.#enter(table, ids.slice(begin, end), written.slice(begin, end).join(''));
      table.tail = undefined;
      if (node) table.nodes.push(node);
      else table.isPrivate = true;
    }
    const begin = table.nodes.length * BLOCK_LENGTH;
    if (table.isPrivate || length <= begin) return;
    this.#enter(table, ids.slice(begin, length), written.slice(begin, length).join(''));
  }

  /** The node of a table's next block: the one it has as its tail, one that says the same, or a new one. */
  #enter(table: BlockTable, ids: readonly number[], written: string): Node | undefined {
    const parent = table.nodes.at(-1) ?? table.root;
    const index = table.nodes.length;
    if (ids.length === BLOCK_LENGTH) {
      for (const node of parent.children) {
        if (node === table.tail || node.ids.length < BLOCK_LENGTH || !isSame(node.ids, ids)) continue;
        if (table.tail) this.#remove(table.tail);
        return node.written === written ? node : undefined;
      }
    }
    if (table.tail) {
      table.tail.ids = ids;
      table.tail.written = written;
      return table.tail;
    }
    const blocks = table.blocks.map((of) => of[index]);
    const node: Node = { parent, ids, written, blocks, children: new Set() };
    blocks.forEach((block, g) => {
      if (block !== undefined) this.#groups[g]!.nodeOf[block] = node;
    });
    parent.children.add(node);
    table.tail = node;
    return node;
  }

  /**
   * Keeps the first `length` positions and drops the rest. Gives how many are kept: fewer where the last block is published (it may not
   * be written again), none where the blocks of a window are gone. The sequence computes anew from there.
   */
  rewind(table: BlockTable, length: number): number {
    const isKnown = table.nodes.length * BLOCK_LENGTH > length;
    const wanted = isKnown ? Math.floor(length / BLOCK_LENGTH) * BLOCK_LENGTH : length;
    const isThere = this.#groups.every(({ window }, g) => {
      const from = seenFrom(window, wanted);
      return wanted === 0 || table.blocks[g]![Math.floor(from / BLOCK_LENGTH)] !== undefined;
    });
    const kept = isThere ? wanted : 0;
    this.#shortenTail(table, kept);
    this.#groups.forEach((group, g) => {
      for (const block of table.blocks[g]!.splice(Math.ceil(kept / BLOCK_LENGTH)).reverse()) {
        if (block !== undefined) this.#leave(group, block);
      }
    });
    table.nodes.length = Math.min(table.nodes.length, Math.floor(kept / BLOCK_LENGTH));
    return kept;
  }

  /** Others must not find positions of the last block that are about to be written again. */
  #shortenTail(table: BlockTable, length: number): void {
    const { tail } = table;
    if (!tail) return;
    const count = length - table.nodes.length * BLOCK_LENGTH;
    if (count > 0) {
      tail.ids = tail.ids.slice(0, count);
      tail.written = tail.written.slice(0, count);
    } else {
      this.#remove(tail);
      table.tail = undefined;
    }
  }

  /** A sequence ends: its blocks go back, and those in the tree may still be found. */
  release(table: BlockTable): void {
    this.#groups.forEach((group, g) => {
      // The last first: what follows a block is of no use without it.
      for (const block of table.blocks[g]!.splice(0).reverse()) {
        if (block !== undefined) this.#leave(group, block);
      }
    });
    table.nodes.length = 0;
    table.tail = undefined;
  }

  /** A sequence ends that computed something wrong: nobody may find what it has. */
  forget(table: BlockTable): void {
    for (const node of [...(table.tail ? [table.tail] : []), ...table.nodes.slice().reverse()])
      this.#remove(node);
    this.release(table);
  }

  #use(group: Group, block: number): number {
    group.idle.delete(block);
    group.references[block]!++;
    return block;
  }

  #leave(group: Group, block: number): void {
    if (--group.references[block]! > 0) return;
    if (group.nodeOf[block]) group.idle.add(block);
    else group.free.push(block);
  }

  /** `keep`: a block that must not be given away now. */
  #allocate(group: Group, keep?: number): number | undefined {
    let block = group.free.pop();
    if (block === undefined) {
      // More blocks are made before what others may want is given away.
      if (group.capacity < group.limit) return undefined;
      for (const idle of group.idle) {
        if (idle === keep) continue;
        this.#giveAway(group, idle);
        block = group.free.pop();
        break;
      }
    }
    if (block === undefined) return undefined;
    group.references[block] = 1;
    return block;
  }

  /** Takes an idle block out of the tree, and what cannot be found without it. */
  #giveAway(group: Group, block: number): void {
    const node = group.nodeOf[block]!;
    if (group.window === undefined) {
      this.#remove(node);
      return;
    }
    group.idle.delete(block);
    group.nodeOf[block] = undefined;
    node.blocks[this.#groups.indexOf(group)] = undefined;
    group.free.push(block);
  }

  #remove(node: Node): void {
    node.parent?.children.delete(node);
    const nodes = [node];
    for (const each of nodes) {
      nodes.push(...each.children);
      each.children.clear();
      each.blocks.forEach((block, g) => {
        const group = this.#groups[g]!;
        if (block === undefined || group.nodeOf[block] !== each) return;
        group.nodeOf[block] = undefined;
        if (group.idle.delete(block)) group.free.push(block);
      });
    }
  }
}

/** Of a node's ids those that are the next ones from `begin` on, and were written as told. */
function commonLength(
  node: Node,
  ids: readonly number[],
  begin: number,
  written: string | undefined,
): number {
  let n = 0;
  while (
    n < node.ids.length &&
    node.ids[n] === ids[begin + n] &&
    (written === undefined || node.written[n] === written[begin + n])
  ) {
    n++;
  }
  return n;
}

const isSame = (a: readonly number[], b: readonly number[]): boolean =>
  a.length === b.length && a.every((id, i) => id === b[i]);
