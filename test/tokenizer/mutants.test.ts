/**
 * Two thousand damaged tokenizer.json files: a byte-level one and one of pieces with an edit or two anywhere in their text. Each is read
 * as the library `tokenizers` (0.22) reads the same text, or is an error.
 */
import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { Tokenizer, TokenizerError } from '../../tokenizer/index.ts';
import { PATIENT } from './tokenizers.ts';

interface Mutants {
  texts: string[];
  /** How long the two files are, in UTF-16 units. */
  bases: [number, number];
  /**
   * Which file; its edits from the end to the beginning; and a hash of the ids of all texts, or null where the library gives an
   * error, for the file or for a text.
   */
  mutants: [base: 0 | 1, edits: [at: number, removed: number, inserted: string][], hash: number | null][];
}

const FIXTURES = new URL('../fixtures/', import.meta.url);
const read = (file: string): string => readFileSync(new URL(file, FIXTURES), 'utf8');
const { texts, bases, mutants } = JSON.parse(read('tokenizer-mutants.json')) as Mutants;

/** The file of pieces, in the order that objects with keys such as "1" would not keep. */
function piecesText(): string {
  const { pieces, merges, variants } = JSON.parse(read('tokenizer-pieces.json'));
  const sections = JSON.stringify(variants[0].sections).slice(1, -1);
  const vocab = pieces.map((piece: string, id: number) => `${JSON.stringify(piece)}:${id}`).join(',');
  const model = `"type":"BPE","unk_token":"<unk>","fuse_unk":true,"byte_fallback":true,"vocab":{${vocab}}`;
  return `{${sections},"model":{${model},"merges":${JSON.stringify(merges)}}}`;
}

const files = [
  readFileSync(new URL('../../examples/models/tiny-qwen3/tokenizer.json', import.meta.url), 'utf8'),
  piecesText(),
];

/** FNV-1a over three bytes of each id, and of 0xffffff behind each text. */
function hashOf(tokenizer: Tokenizer): number {
  let hash = 0x811c9dc5;
  for (const text of texts) {
    for (const id of [...tokenizer.encode(text), 0xffffff]) {
      for (const shift of [0, 8, 16]) hash = Math.imul(hash ^ ((id >> shift) & 255), 0x01000193);
    }
  }
  return hash >>> 0;
}

/** The hash of what a text of a file gives; null where that is an error. */
async function hashOfText(text: string): Promise<number | null> {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    return null;
  }
  try {
    return hashOf(await Tokenizer.load(json));
  } catch (error) {
    if (error instanceof TokenizerError) return null;
    throw error;
  }
}

it('are read as tokenizers reads them, or are errors', PATIENT, async () => {
  expect(files.map((file) => file.length)).toEqual(bases);
  const step = process.env.EVERY_CASE === '1' ? 1 : 8;
  const wrong: string[] = [];
  let numSame = 0;
  let numTried = 0;
  for (let i = 0; i < mutants.length; i += step) {
    const [base, edits, wanted] = mutants[i]!;
    let text = files[base]!;
    for (const [at, removed, inserted] of edits)
      text = text.slice(0, at) + inserted + text.slice(at + removed);
    const found = await hashOfText(text);
    numTried++;
    if (found !== null && found === wanted) numSame++;
    // Keys that stand twice and parts that one text does not need (padding, pairs) are errors there and no harm here.
    else if (found !== null && wanted !== null) wrong.push(`${i}: ${JSON.stringify(edits)}`);
  }
  expect(wrong).toEqual([]);
  // What does no harm is no error.
  expect(numSame).toBeGreaterThan(numTried / 10);
});
