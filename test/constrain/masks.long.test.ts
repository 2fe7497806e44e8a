/** @file Masks and the constraint itself: exact for every token, independent after a fork, kept within bounds. */

import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type Constraint, compileConstraint, type ResponseFormat } from '../../src/constrain/index.ts';
import { seededRandom } from '../seeded-random.ts';
import { PATIENT } from '../tokenizer/tokenizers.ts';
import { anySchema, SCHEMAS } from './any-schema.ts';
import { isAllowed, type Kit, largeKit, randomText, refusal, smallKit } from './vocabularies.ts';

const schemaFormat = (schema: unknown): ResponseFormat => ({ type: 'json_schema', json_schema: { schema } });

/** Whether a token is taken, found out by offering it. */
function takes(constraint: Constraint, token: number): boolean {
  try {
    constraint.fork().accept(token);
    return true;
  } catch {
    return false;
  }
}

function expectExactMask(constraint: Constraint, kit: Kit, tokens: Iterable<number>): void {
  const mask = constraint.mask();
  for (const token of tokens) {
    if (takes(constraint, token) !== isAllowed(mask, token)) {
      throw new Error(
        `${JSON.stringify(kit.tokenizer.idToToken(token))}: the mask says ${isAllowed(mask, token)}`,
      );
    }
  }
}

const FORMATS: readonly ResponseFormat[] = [
  ...Object.values(SCHEMAS).map(schemaFormat),
  { type: 'json_object' },
  schemaFormat({
    type: 'array',
    items: { type: 'string', minLength: 7, maxLength: 40 },
    minItems: 6,
    maxItems: 30,
  }),
  schemaFormat({ type: 'string', pattern: 'ab?', minLength: 12 }),
  { type: 'regex', pattern: '(a{5,50}|[a-f ]{0,30}x|.{6}é){2,9}' },
  { type: 'grammar', grammar: 'root ::= word (" " word)*\nword ::= [a-zé]{1,12} | "(" root ")"' },
];

describe('masks', PATIENT, () => {
  const anyFormat = fc.oneof(
    fc.constantFrom(...FORMATS),
    anySchema().map(({ schema }) => schemaFormat(schema)),
  );

  test('equal what offering every single token finds (1,024 tokens)', () => {
    const kit = smallKit();
    const all = Array.from({ length: kit.vocabulary.size }, (_, i) => i);
    fc.assert(
      fc.property(anyFormat, fc.integer(), fc.nat(25), (format, seed, numTokens) => {
        const random = seededRandom(seed);
        const constraint = compileConstraint(format, kit.vocabulary);
        for (let i = 0; i <= numTokens; i++) {
          expectExactMask(constraint, kit, all);
          const allowed = all.filter((token) => token !== kit.stop && isAllowed(constraint.mask(), token));
          if (allowed.length === 0) return;
          constraint.accept(allowed[Math.floor(random() * allowed.length)]!);
        }
      }),
      { numRuns: 8 },
    );
  });

  test('equal what offering every single token finds (151,936 tokens)', () => {
    const kit = largeKit();
    const all = Array.from({ length: kit.vocabulary.size }, (_, i) => i);
    for (const format of FORMATS.slice(-2)) {
      const constraint = compileConstraint(format, kit.vocabulary);
      const random = seededRandom(5);
      for (let i = 0; i < 3; i++) {
        if (i === 2) expectExactMask(constraint, kit, all);
        const allowed = all.filter((token) => token !== kit.stop && isAllowed(constraint.mask(), token));
        if (allowed.length > 0) constraint.accept(allowed[Math.floor(random() * allowed.length)]!);
      }
    }
  });

  test('never allow added tokens, ids without a token, or the end before the text can end', () => {
    const kit = largeKit();
    const constraint = compileConstraint({ type: 'regex', pattern: '(.|\\n)*' }, kit.vocabulary);
    const mask = constraint.mask();
    const added = kit.tokenizer.addedTokens.map(({ id }) => id).filter((id) => id !== kit.stop);
    expect([...added, kit.tokenizer.vocabSize, 151_935].filter((id) => isAllowed(mask, id))).toEqual([]);
    expect(isAllowed(mask, kit.stop)).toBe(true);
    expect(isAllowed(compileConstraint({ type: 'json_object' }, kit.vocabulary).mask(), kit.stop)).toBe(
      false,
    );
  });

  test('hold for tokens with the same bytes, and for a vocabulary in which tokens split characters', () => {
    const bytes = [[0xc3], [0xa9], [0xc3, 0xa9], [0xc3, 0xa9], [0x61], [0xff], []];
    const vocabulary = {
      size: 40,
      stopTokens: [39],
      bytesOf: (id: number) => (bytes[id] ? Uint8Array.from(bytes[id]) : undefined),
    };
    const constraint = compileConstraint({ type: 'regex', pattern: 'éa' }, vocabulary);
    expect([...constraint.mask()]).toEqual([0b1101, 0]);
    constraint.accept(0);
    expect([...constraint.mask()]).toEqual([0b10, 0]);
    expect(constraint.forced()).toBe(1);
    constraint.accept(1);
    constraint.accept(4);
    expect([...constraint.mask()]).toEqual([0, 1 << 7]);
    expect(constraint.forced()).toBe(39);
  });
});

describe('a constraint', PATIENT, () => {
  const kit = smallKit();

  test('and its fork go their own ways', () => {
    fc.assert(
      fc.property(fc.constantFrom(...FORMATS), fc.integer(), fc.nat(30), (format, seed, numTokens) => {
        const random = seededRandom(seed);
        const constraint = compileConstraint(format, kit.vocabulary);
        const step = (one: Constraint) => {
          const mask = one.mask();
          const allowed = [];
          for (let id = 0; id < kit.vocabulary.size; id++)
            if (id !== kit.stop && isAllowed(mask, id)) allowed.push(id);
          if (allowed.length > 0) one.accept(allowed[Math.floor(random() * allowed.length)]!);
        };
        for (let i = 0; i < numTokens; i++) step(constraint);
        const before = [...constraint.mask()];
        const fork = constraint.fork();
        for (let i = 0; i < 10; i++) step(fork);
        expect([...constraint.mask()]).toEqual(before);
        randomText(constraint.fork(), kit, random);
        expect([...constraint.mask()]).toEqual(before);
      }),
      { numRuns: 8 },
    );
  });

  test('says where the text may end, must end, and has ended', () => {
    const constraint = compileConstraint({ type: 'regex', pattern: 'ab?' }, kit.vocabulary);
    const [a, b] = ['a', 'b'].map((char) => kit.tokenizer.tokenToId(char)!);
    expect([constraint.canEnd, constraint.isDone]).toEqual([false, false]);
    constraint.accept(a!);
    expect([constraint.canEnd, constraint.isDone]).toEqual([true, false]);
    const ended = constraint.fork();
    ended.accept(kit.stop);
    expect([ended.canEnd, ended.isDone, ended.forced()]).toEqual([true, true, undefined]);
    expect(() => ended.accept(b!)).toThrow(/has ended/);
    constraint.accept(b!);
    expect([constraint.canEnd, constraint.isDone, constraint.forced()]).toEqual([true, true, kit.stop]);
  });

  test('refuses a token that its mask forbids, and stays where it was', () => {
    const constraint = compileConstraint(schemaFormat({ type: 'boolean' }), kit.vocabulary);
    const before = [...constraint.mask()];
    expect(() => constraint.accept(kit.tokenizer.tokenToId('x')!)).toThrow(/cannot come next/);
    expect(() => constraint.accept(kit.stop)).toThrow(/cannot end here/);
    expect(() => constraint.accept(99_999)).toThrow(/stands for no text/);
    expect([...constraint.mask()]).toEqual(before);
    expect(refusal(constraint, kit, 'true')).toBeUndefined();
  });

  test('stays right when more states and masks were needed than are kept', () => {
    const format: ResponseFormat = { type: 'grammar', grammar: 'root ::= "(" root ")" | "[" root "]" | "x"' };
    const constraint = compileConstraint(format, kit.vocabulary);
    const random = seededRandom(11);
    const open = Array.from({ length: 12_000 }, () => (random() < 0.5 ? '(' : '['));
    const close = open.toReversed().map((char) => (char === '(' ? ')' : ']'));
    const id = (char: string) => kit.tokenizer.tokenToId(char)!;
    const early = compileConstraint(format, kit.vocabulary);
    early.accept(id('('));
    for (const char of [...open, 'x']) constraint.accept(id(char));
    for (const char of close) {
      constraint.mask();
      constraint.accept(id(char));
    }
    expect([constraint.canEnd, constraint.isDone]).toEqual([true, true]);
    expect(refusal(early, kit, '[x])')).toBeUndefined();
  });
});
