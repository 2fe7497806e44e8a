/**
 * Blocks of the KV cache under random sequences. What a block holds is told by a model of the GPU's memory: at each position a name of
 * all that its keys and values depend on (salt, ids up to it, and what wrote each of them).
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { BLOCK_LENGTH } from '../../src/graph/batch.ts';
import { type BlockTable, KvPool, type Written } from '../../src/runtime/generate/kv-pool.ts';
import { numCases } from '../num-cases.ts';

const B = BLOCK_LENGTH;
/** Rows that are computed at a time, at most. */
const ROWS = 40;

interface Live {
  table: BlockTable;
  salt: string;
  ids: number[];
  written: Written[];
  /** Positions that are computed. */
  length: number;
}

/** A pool, the memory of its blocks and the sequences that use it. */
class World {
  readonly pool: KvPool;
  readonly live: Live[] = [];
  /** By group, block and position in it. */
  readonly memory: (string | undefined)[][][];
  readonly windows: readonly (number | undefined)[];

  constructor(windows: readonly (number | undefined)[], limits: readonly number[], first: number) {
    this.windows = windows;
    this.pool = new KvPool({ windows, limits });
    this.memory = windows.map(() => []);
    for (const [g, limit] of limits.entries()) this.grow(g, Math.min(first, limit));
  }

  grow(group: number, capacity: number): void {
    this.pool.grown(group, capacity);
    for (let i = this.memory[group]!.length; i < capacity; i++) this.memory[group]![i] = [];
  }

  /** Another sequence, with what there is of it. */
  begin(ids: readonly number[], salt: string): Live | undefined {
    const table = this.pool.newTable(salt);
    const found = this.pool.find(ids, ids.length - 1, table.root);
    const before = structuredClone(this.pool.usage);
    const copies = this.pool.take(table, found);
    if (!copies) {
      expect(this.pool.usage).toEqual(before);
      expect(table.blocks.flat()).toEqual([]);
      return undefined;
    }
    for (const { group, from, to } of copies) this.memory[group]![to] = [...this.memory[group]![from]!];
    const written = [...found.written] as Written[];
    expect(written).toHaveLength(found.length);
    const one = { table, salt, ids: [...ids], written, length: found.length };
    this.live.push(one);
    return one;
  }

  /** Computes more of a sequence, if there is room. */
  compute(one: Live, rows: number, how: Written): boolean {
    const end = Math.min(one.ids.length, one.length + rows);
    if (end === one.length || !this.pool.extend(one.table, end)) return false;
    one.written.length = one.length;
    while (one.written.length < end) one.written.push(how);
    for (let p = one.length; p < end; p++) {
      for (const [g, blocks] of one.table.blocks.entries()) {
        this.memory[g]![blocks[Math.floor(p / B)]!]![p % B] = this.nameOf(one, p);
      }
    }
    const begin = one.length;
    one.length = end;
    this.pool.leaveWindows(one.table, begin);
    return true;
  }

  nameOf({ salt, ids, written }: Live, position: number): string {
    return `${salt}|${ids.slice(0, position + 1).join('')}|${written.slice(0, position + 1).join('')}`;
  }

  publish({ table, ids, written, length }: Live): void {
    this.pool.publish(table, ids, written, length);
  }

  rewind(one: Live, length: number): void {
    const kept = this.pool.rewind(one.table, length);
    expect(kept).toBeLessThanOrEqual(length);
    one.length = kept;
    one.written.length = kept;
  }

  end(one: Live, isWrong: boolean): void {
    if (isWrong) this.pool.forget(one.table);
    else this.pool.release(one.table);
    this.live.splice(this.live.indexOf(one), 1);
  }

  check(): void {
    for (const [g, window] of this.windows.entries()) {
      const { capacity, used, idle, limit } = this.pool.usage[g]!;
      const owners = new Map<number, Live[]>();
      for (const one of this.live) {
        const blocks = one.table.blocks[g]!;
        for (const [i, block] of blocks.entries()) {
          if (block === undefined) continue;
          expect(block).toBeLessThan(capacity);
          owners.set(block, [...(owners.get(block) ?? []), one]);
          // Whoever shares a block got it by the tree, with all its ids, and never writes to it again.
          for (const other of owners.get(block)!) {
            if (other === one) continue;
            expect(other.table.nodes[i], 'a block of two').toBe(one.table.nodes[i]);
            expect(one.length).toBeGreaterThanOrEqual(B * (i + 1));
            expect(other.ids.slice(0, B * (i + 1))).toEqual(one.ids.slice(0, B * (i + 1)));
            expect(other.written.slice(0, B * (i + 1))).toEqual(one.written.slice(0, B * (i + 1)));
          }
        }
        expect(new Set(blocks.filter((b) => b !== undefined)).size, 'a block twice in a table').toBe(
          blocks.filter((b) => b !== undefined).length,
        );
        // All that the next row sees is what it should be.
        const from = window === undefined ? 0 : Math.max(0, one.length - window + 1);
        for (let p = from; p < one.length; p++) {
          expect(this.memory[g]![blocks[Math.floor(p / B)]!]![p % B]).toBe(this.nameOf(one, p));
        }
        // And no more is kept than a window needs.
        if (window !== undefined && one.table.blocks[g]!.length > 0) {
          const held = blocks.filter((b) => b !== undefined).length;
          expect(held).toBeLessThanOrEqual(this.pool.blocksFor(g, one.length + ROWS, ROWS) + 1);
        }
      }
      expect(used, 'blocks in use').toBe(owners.size);
      expect(used + idle).toBeLessThanOrEqual(capacity);
      expect(capacity).toBeLessThanOrEqual(limit);
    }
  }
}

/** Few texts that begin alike, so that sequences meet. */
const prompt = fc
  .record({
    parts: fc.array(fc.record({ letter: fc.nat(1), length: fc.integer({ min: 1, max: 100 }) }), {
      minLength: 1,
      maxLength: 4,
    }),
    salt: fc.constantFrom('', '', '', 'other'),
  })
  .map(({ parts, salt }) => ({
    salt,
    ids: parts.flatMap(({ letter, length }) => Array<number>(length).fill(letter)),
  }));

const which = fc.nat(7);
const step = fc.oneof(
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('begin' as const), prompt }) },
  {
    weight: 6,
    arbitrary: fc.record({
      kind: fc.constant('compute' as const),
      which,
      rows: fc.integer({ min: 1, max: ROWS }),
      how: fc.constantFrom<Written>('c', 'c', 'r'),
      times: fc.integer({ min: 1, max: 8 }),
      publishes: fc.boolean(),
    }),
  },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('say' as const), which, id: fc.nat(2) }) },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant('rewind' as const),
      which,
      share: fc.integer({ min: 0, max: 100 }).map((percent) => percent / 100),
      id: fc.nat(2),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constant('end' as const),
      which,
      isWrong: fc.boolean(),
      publishes: fc.boolean(),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant('grow' as const),
      group: fc.nat(1),
      by: fc.integer({ min: 1, max: 4 }),
    }),
  },
  { weight: 1, arbitrary: fc.constant({ kind: 'stop' as const }) },
);

describe('whatever sequences do', () => {
  it.each<[string, (number | undefined)[]]>([
    ['without windows', [undefined]],
    ['with a window', [undefined, 70]],
    ['with a window shorter than a block', [undefined, 20]],
  ])(
    '%s, each has what it computed and what it took up, and blocks are neither lost nor given to two',
    (_, windows) => {
      fc.assert(
        fc.property(
          fc.array(step, { minLength: 5, maxLength: 60 }),
          fc.integer({ min: 8, max: 24 }),
          fc.integer({ min: 2, max: 24 }),
          (steps, limit, first) => {
            const world = new World(
              windows,
              windows.map((w) => (w === undefined ? limit : Math.ceil(limit / 2) + 3)),
              first,
            );
            const { pool, live } = world;
            for (const one of steps) {
              if (one.kind === 'begin') {
                if (live.length < 8) world.begin(one.prompt.ids, one.prompt.salt);
              } else if (one.kind === 'grow') {
                const group = Math.min(one.group, windows.length - 1);
                const { capacity, limit } = pool.usage[group]!;
                world.grow(group, Math.min(limit, capacity + one.by));
              } else if (one.kind === 'stop') {
                pool.stopGrowing();
              } else {
                const sequence = live[one.which % Math.max(1, live.length)];
                if (!sequence) continue;
                if (one.kind === 'compute') {
                  for (let i = 0; i < one.times; i++) world.compute(sequence, one.rows, one.how);
                  if (one.publishes) world.publish(sequence);
                } else if (one.kind === 'say') {
                  sequence.ids.push(one.id);
                } else if (one.kind === 'rewind') {
                  const length = Math.floor(one.share * sequence.length);
                  world.rewind(sequence, length);
                  sequence.ids = [
                    ...sequence.ids.slice(0, length),
                    one.id,
                    ...sequence.ids.slice(length + 1),
                  ];
                  // What was kept is what the new ids begin with.
                  expect(sequence.length).toBeLessThanOrEqual(length);
                } else {
                  if (one.publishes) world.publish(sequence);
                  world.end(sequence, one.isWrong);
                }
              }
              world.check();
            }
            for (const one of [...live]) world.end(one, false);
            world.check();
            // Every block can be had again.
            pool.stopGrowing();
            const all = pool.newTable();
            const least = Math.min(...pool.usage.map(({ capacity }) => capacity));
            expect(pool.extend(all, least * B)).toBe(true);
            pool.release(all);
            expect(pool.usage.map(({ used }) => used)).toEqual(windows.map(() => 0));
          },
        ),
        { numRuns: numCases(1000) },
      );
    },
  );
});

const repeat = (id: number, count: number): number[] => Array<number>(count).fill(id);

describe('a prefix is found', () => {
  const world = () => new World([undefined], [16], 16);
  const run = (w: World, ids: readonly number[], how: Written = 'c', salt = ''): Live => {
    const one = w.begin(ids, salt)!;
    while (w.compute(one, ROWS, how));
    w.publish(one);
    return one;
  };
  const lengthOf = (w: World, ids: readonly number[], salt = '', written?: string): number =>
    w.pool.find(ids, ids.length - 1, w.pool.newTable(salt).root, written).length;

  it('to the token, by whoever has the same salt, and never the last id', () => {
    const w = world();
    const ids = [...repeat(1, 100), ...repeat(2, 50)];
    run(w, ids);
    expect(lengthOf(w, ids)).toBe(149);
    expect(lengthOf(w, [...ids, 3])).toBe(150);
    expect(lengthOf(w, [...repeat(1, 90), 3, 3])).toBe(90);
    expect(lengthOf(w, [3, ...ids])).toBe(0);
    expect(lengthOf(w, ids, 'another')).toBe(0);
    expect(lengthOf(w, [1])).toBe(0);
  });
  it('while the one that computes it goes on', () => {
    const w = world();
    const one = w.begin(repeat(1, 200), '')!;
    for (const end of [40, 80, 120]) {
      w.compute(one, 40, 'c');
      w.publish(one);
      expect(lengthOf(w, repeat(1, 200))).toBe(end);
    }
  });
  it('as it was written where that is asked for', () => {
    const w = world();
    run(w, repeat(1, 100), 'r');
    expect(lengthOf(w, repeat(1, 100))).toBe(99);
    expect(lengthOf(w, repeat(1, 100), '', 'r'.repeat(99))).toBe(99);
    expect(lengthOf(w, repeat(1, 100), '', `${'r'.repeat(80)}${'c'.repeat(19)}`)).toBe(80);
  });
  it('no more once it was forgotten, but by those who have it', () => {
    const w = world();
    const one = run(w, repeat(1, 130));
    const other = w.begin([...repeat(1, 130), 2, 2], '')!;
    expect(other.length).toBe(130);
    w.end(one, true);
    expect(lengthOf(w, repeat(1, 130))).toBe(0);
    w.compute(other, 2, 'r');
    w.check();
    w.end(other, false);
    expect(w.pool.usage[0]).toMatchObject({ used: 0, idle: 0 });
  });
  it('of whoever computed it first, where two have computed the same ids in two ways', () => {
    const w = world();
    const [one, other] = [w.begin(repeat(1, 200), '')!, w.begin(repeat(1, 200), '')!];
    for (const [each, how] of [
      [one, 'c'],
      [other, 'r'],
    ] as const) {
      for (const rows of [B, B, 30]) w.compute(each, rows, how);
      w.publish(each);
    }
    w.compute(other, 42, 'r');
    w.publish(other);
    // What follows other keys and values is not taken for what follows these.
    const third = w.begin(repeat(1, 200), '')!;
    expect(third.length).toBe(2 * B + 30);
    w.check();
    w.end(other, false);
    expect(w.pool.usage[0]).toMatchObject({ idle: 0 });
  });
  it('not at all without sharing', () => {
    const pool = new KvPool({ windows: [undefined], limits: [8], sharing: false });
    pool.grown(0, 8);
    const table = pool.newTable();
    pool.extend(table, 128);
    pool.publish(table, repeat(1, 128), Array<Written>(128).fill('c'), 128);
    pool.release(table);
    expect(pool.find(repeat(1, 128), 127, table.root).length).toBe(0);
    expect(pool.usage).toEqual([{ capacity: 8, used: 0, idle: 0, limit: 8 }]);
  });

  it('as long as its blocks are not needed: the least recently used go first, of each the last', () => {
    const w = new World([undefined], [8], 8);
    const [a, b] = [repeat(1, 3 * B), repeat(2, 3 * B)];
    for (const ids of [a, b]) w.end(run(w, ids), false);
    const lengths = () => [a, b].map((ids) => lengthOf(w, [...ids, 0]));
    expect(lengths()).toEqual([3 * B, 3 * B]);
    // The first is used again, so the second is the older.
    w.end(w.begin([...a, 0], '')!, false);
    const filler = w.pool.newTable();
    const seen = [];
    for (let blocks = 1; blocks <= 8; blocks++) {
      expect(w.pool.extend(filler, blocks * B)).toBe(true);
      seen.push(lengths().map((n) => n / B));
    }
    expect(seen).toEqual([
      [3, 3],
      [3, 3],
      [3, 2],
      [3, 1],
      [3, 0],
      [2, 0],
      [1, 0],
      [0, 0],
    ]);
    expect(w.pool.extend(filler, 9 * B)).toBe(false);
  });
  it('as long as there may be more blocks: nothing is given away before', () => {
    const w = new World([undefined], [8], 3);
    w.end(run(w, repeat(1, 3 * B)), false);
    const table = w.pool.newTable();
    expect(w.pool.extend(table, 1)).toBe(false);
    w.grow(0, 4);
    expect(w.pool.extend(table, 1)).toBe(true);
    expect(lengthOf(w, repeat(1, 3 * B + 1))).toBe(3 * B);
    // Where there is no memory, they are.
    w.pool.stopGrowing();
    expect(w.pool.extend(table, B + 1)).toBe(true);
    expect(lengthOf(w, repeat(1, 3 * B + 1))).toBe(2 * B);
  });
});

describe('a window', () => {
  const WINDOW = 70;
  const long = () => {
    const w = new World([undefined, WINDOW], [32, 8], 32);
    const ids = Array.from({ length: 12 * B }, (_, i) => i % 5);
    const one = w.begin(ids, '')!;
    return { w, ids, one };
  };

  it('gives its blocks back as it moves on', () => {
    const { w, one } = long();
    const held: number[] = [];
    while (w.compute(one, 32, 'c')) held.push(w.pool.usage[1]!.used);
    expect(one.length).toBe(12 * B);
    expect(Math.max(...held)).toBeLessThanOrEqual(w.pool.blocksFor(1, 12 * B, 32));
    expect(w.pool.usage[0]!.used).toBe(12);
    expect(w.pool.usage[1]!.used).toBeLessThanOrEqual(4);
  });

  it('makes a prefix of use only where the blocks of its last window - 1 positions are there', () => {
    const { w, ids, one } = long();
    while (w.compute(one, 32, 'c')) w.publish(one);
    w.end(one, false);
    const { root } = w.pool.newTable();
    const find = (length: number) => w.pool.find([...ids.slice(0, length), 9], length, root).length;
    // The blocks of the window that were left longest ago went to those that came.
    const lost = [1, 2, 3, 4].map((blocks) => find(blocks * B));
    expect(lost).toEqual([0, 0, 0, 0]);
    expect(find(12 * B)).toBe(12 * B);
    expect(find(12 * B - 10)).toBe(12 * B - 10);
    const again = w.begin([...ids, 9], '')!;
    expect(again.length).toBe(12 * B);
    w.check();
    // Of the window only what the next row sees: 69 positions, in two blocks.
    expect(again.table.blocks[1]!.filter((b) => b !== undefined)).toHaveLength(2);
  });
});

describe('a sequence that goes back', () => {
  it('keeps its positions to the token where nobody else knows them, and whole blocks where others do', () => {
    const w = new World([undefined], [16], 16);
    const one = w.begin(repeat(1, 150), '')!;
    while (w.compute(one, ROWS, 'c'));
    w.rewind(one, 140);
    expect(one.length).toBe(140);
    // Two blocks are known to others now, and 12 positions of a third.
    w.publish(one);
    w.rewind(one, 135);
    expect(one.length).toBe(135);
    const { root } = one.table;
    expect(w.pool.find(repeat(1, 150), 149, root).length).toBe(135);
    w.rewind(one, 100);
    expect(one.length).toBe(B);
    // Others still find what it had known.
    expect(w.pool.find(repeat(1, 150), 149, root).length).toBe(2 * B);
    one.ids = [...repeat(1, 100), ...repeat(2, 50)];
    while (w.compute(one, ROWS, 'r'));
    w.publish(one);
    w.check();
  });

  it('computes anew from the start where a window has left the blocks that it needs, and only there', () => {
    const w = new World([undefined, 70], [16, 8], 16);
    const one = w.begin(repeat(1, 8 * B), '')!;
    while (w.compute(one, ROWS, 'c'));
    w.rewind(one, 8 * B - 3);
    expect(one.length).toBe(8 * B - 3);
    w.check();
    w.rewind(one, 3 * B);
    expect(one.length).toBe(0);
    expect(w.pool.usage.map(({ used }) => used)).toEqual([0, 0]);
    while (w.compute(one, ROWS, 'c'));
    w.check();
  });
});

it.each([false, true])(
  'a copy that there is no block for takes nothing (the one it was of has ended: %s)',
  (hasEnded) => {
    const w = new World([undefined], [2], 2);
    const one = w.begin(repeat(1, 100), '')!;
    while (w.compute(one, ROWS, 'c'));
    w.publish(one);
    if (hasEnded) w.end(one, false);
    const { usage } = w.pool;
    expect(w.begin([...repeat(1, 90), 2], '')).toBeUndefined();
    expect(w.pool.usage).toEqual(usage);
    w.check();
  },
);
