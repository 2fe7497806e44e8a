import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  decodeRecords,
  digestOf,
  encodeRecord,
  type FileRecord,
  isComplete,
  numChunks,
  readFileState,
} from '../../src/store/journal.ts';
import { numCases } from '../num-cases.ts';

const seed = Number(process.env.SEED ?? Math.floor(Math.random() * 2 ** 31));
const runs = { seed, numRuns: numCases(100) };

const hash = fc.stringMatching(/^[0-9a-f]{64}$/);
const description = fc.record({
  size: fc.integer({ min: 0, max: 1000 }),
  chunkBytes: fc.integer({ min: 1, max: 100 }),
});
const event: fc.Arbitrary<FileRecord> = fc.oneof(
  fc.record({ chunk: fc.nat(30), sha256: hash }),
  fc.record({ lost: fc.nat(30) }),
  fc.constant({ reset: true } as const),
);
const journal = fc.tuple(description, fc.array(event, { maxLength: 12 }));
const linesOf = (records: object[]) => records.map((record) => Buffer.from(encodeRecord(record)));

describe('a journal', () => {
  test('that is cut at any byte tells what its whole lines told', () => {
    fc.assert(
      fc.property(journal, ([file, events]) => {
        const records = [{ file }, ...events];
        const lines = linesOf(records);
        const bytes = Buffer.concat(lines);
        let end = 0;
        const ends = lines.map((line) => {
          end += line.length;
          return end;
        });
        const cuts = Array.from({ length: bytes.length + 1 }, (_, cut) => cut);
        const found = cuts.map((cut) => JSON.stringify(decodeRecords(bytes.subarray(0, cut))));
        // The newline at the end of a line is not needed to know it.
        const numWhole = (cut: number) => ends.filter((lineEnd) => lineEnd - 1 <= cut).length;
        expect(found).toEqual(cuts.map((cut) => JSON.stringify(records.slice(0, numWhole(cut)))));
      }),
      runs,
    );
  });

  test('that is cut at any byte and then goes on loses the torn line only', () => {
    fc.assert(
      fc.property(journal, fc.nat(), event, ([file, events], where, next) => {
        const lines = linesOf([{ file }, ...events]);
        const torn = lines.pop()!;
        const part = torn.subarray(0, where % (torn.length - 1));
        const bytes = Buffer.concat([...lines, part, encodeRecord(next)]);
        expect(decodeRecords(bytes)).toEqual([...[{ file }, ...events].slice(0, -1), next]);
      }),
      runs,
    );
  });

  test('never takes a damaged byte for anything else', () => {
    fc.assert(
      fc.property(journal, fc.nat(), fc.integer({ min: 1, max: 255 }), ([file, events], where, flip) => {
        const records = [{ file }, ...events];
        const bytes = Buffer.concat(linesOf(records));
        bytes[where % bytes.length]! ^= flip;
        const left = decodeRecords(bytes);
        expect(left.length).toBeGreaterThanOrEqual(records.length - 2); // a newline that goes may take two with it
        for (const record of left) expect(records).toContainEqual(record);
      }),
      runs,
    );
  });

  test('says that a file is complete only when all of its chunks came and it was verified', () => {
    fc.assert(
      fc.property(
        description,
        fc.array(hash, { minLength: 1, maxLength: 1 }),
        fc.nat(),
        (file, [sha256], omitted) => {
          const chunks = Array.from({ length: numChunks(file) }, (_, chunk) => ({ chunk, sha256: sha256! }));
          const verified = digestOf(chunks.map(({ sha256 }) => sha256));
          const complete = [{ file }, ...chunks, { verified }];
          expect(isComplete(readFileState(complete)!)).toBe(true);
          const records: object[] = complete.toSpliced(1 + (omitted % (chunks.length + 1)), 1);
          expect(isComplete(readFileState(records)!)).toBe(false);
          expect(isComplete(readFileState([...complete, { reset: true }])!)).toBe(
            chunks.length === 0 && false,
          );
          expect(readFileState(complete.slice(1))).toBeUndefined();
        },
      ),
      runs,
    );
  });
});
