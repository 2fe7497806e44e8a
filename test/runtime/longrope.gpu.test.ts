/**
 * A sequence that grows beyond the length from which longrope turns all positions otherwise goes on as one that was computed anew by those
 * angles: the tokens and logprobs of a reference without a cache, alone, in company, guessed ahead, put back, and with forced ids.
 */
import { afterAll, describe, expect, it } from 'vitest';
import type { Session } from '../../src/runtime/generate/session.ts';
import { openModel, type StartedModel, startModel } from '../../src/runtime/load/load.ts';
import type { LoadOptions } from '../../src/runtime/types.ts';
import { fixtureFolders } from '../fixture-folders.ts';
import crossing from '../fixtures/goldens/phi3/crossing.json';
import { readGolden } from './golden.ts';
import { GREEDY } from './greedy.ts';

const { source } = fixtureFolders('goldens').find(({ name }) => name === 'phi3')!;
/** original_max_position_embeddings of the fixture. */
const BORDER = 128;
/** What f32 arithmetic makes of logits, twice: of the token's own and of the sum over all. */
const BOUND = 1e-3;

const golden = await readGolden(source);
const load = { contextLength: 256, prefillRows: 64, precision: 'f32' } satisfies LoadOptions;
const started: StartedModel[] = [];
afterAll(() => {
  for (const model of started) model.dispose();
});

async function open(options: LoadOptions = {}, more: { cacheTokens?: number } = {}): Promise<Session> {
  const opened = await openModel(source, { ...load, ...options });
  const sessionOptions = { ...opened.sessionOptions, ...more };
  const model = await startModel({ ...opened, sessionOptions }, { ...load, ...options });
  started.push(model);
  return model.session;
}

type Case = (typeof crossing.cases)[number];

const idsOf = ({ prompt, length }: Pick<Case, 'prompt' | 'length'>): number[] =>
  Array.from(golden.get(`${prompt}.input_ids`)!.data).slice(0, length);

async function answer(
  session: Session,
  ids: readonly number[],
  maxTokens: number,
  options: Partial<Parameters<Session['generate']>[1]> = {},
) {
  const logprobs: number[] = [];
  const generation = session.generate(ids, {
    sampling: GREEDY,
    maxTokens,
    logprobs: 1,
    accept(_, logprob) {
      logprobs.push(logprob!.logprob);
      return true;
    },
    ...options,
  });
  const tokens: number[] = [];
  for (;;) {
    const next = await generation.next();
    if (next.done) return { tokens, logprobs, ...next.value };
    tokens.push(next.value);
  }
}

async function expectReference(session: Session, one: Case) {
  const found = await answer(session, idsOf(one), one.tokens.length);
  expect(found.tokens).toEqual(one.tokens);
  one.logprobs.forEach((logprob, i) => {
    expect(Math.abs(found.logprobs[i]! - logprob), `token ${i}`).toBeLessThan(BOUND);
  });
  return found;
}

it('the cases reach the border, cross it and begin beyond it', () => {
  const ends = crossing.cases.map(({ length, tokens }) => [length, length + tokens.length]);
  expect(ends.some(([from, to]) => from! < BORDER - 1 && to! > BORDER + 16)).toBe(true);
  expect(ends.map(([from]) => from)).toEqual(expect.arrayContaining([BORDER - 1, BORDER, BORDER + 1]));
});

describe('a sequence that crosses the border', () => {
  it('alone, one after another: nothing that was turned otherwise is taken up', async () => {
    const session = await open({}, { cacheTokens: 2048 });
    for (const one of crossing.cases) await expectReference(session, one);
    // The last begins with what the one before it had: as short sequences, and as long ones.
    const [short, long] = [idsOf({ prompt: 'p200', length: 100 }), idsOf({ prompt: 'p200', length: 150 })];
    expect((await answer(session, short, 1)).cachedTokens).toBe(99);
    expect((await answer(session, long, 1)).cachedTokens).toBe(129);
  });

  it.each<[string, LoadOptions, { cacheTokens?: number }]>([
    ['in company', {}, { cacheTokens: 2048 }],
    ['guessed ahead', { speculate: 'lookup' }, { cacheTokens: 2048 }],
    ['in a pool so small that some are put back', {}, { cacheTokens: 320 }],
    ['where chunks are short', { prefillRows: 16 }, { cacheTokens: 2048 }],
  ])('%s', async (_, options, more) => {
    const session = await open(options, more);
    const twice = [...crossing.cases, ...crossing.cases];
    await Promise.all(twice.map((one) => expectReference(session, one)));
    expect(session.kvUsage.map(({ used }) => used)).toEqual([0]);
    if (more.cacheTokens! < 512) expect(session.counts.putBack).toBeGreaterThan(crossing.cases.length);
  });

  it('with masks, which need every token before the next', async () => {
    const session = await open();
    const one = crossing.cases.find(({ length }) => length === 120)!;
    const all = new Uint32Array(8).fill(0xffffffff);
    const found = await answer(session, idsOf(one), one.tokens.length, { mask: () => all });
    expect(found.tokens).toEqual(one.tokens);
  });

  it('by ids that are forced goes on as the prompt that holds them would', async () => {
    const session = await open();
    const ids = idsOf({ prompt: 'p200', length: 110 });
    const forced = Array.from({ length: 30 }, (_, i) => 7 * i + 3);
    let isForced = false;
    const found = await answer(session, ids, 44, {
      logprobs: undefined,
      accept: () => isForced,
      force() {
        isForced = true;
        return forced;
      },
    });
    const another = await open();
    const before = await answer(another, ids, 1);
    const after = await answer(another, [...ids, ...before.tokens, ...forced], 13);
    expect(found.tokens).toEqual([...before.tokens, ...forced, ...after.tokens]);
  });
});
