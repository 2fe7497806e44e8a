/**
 * @file The tokenizer goldens: what the Hugging Face tokenizers library gives for the Qwen3 and DeepSeek-V3 tokenizers. Runs over
 * the project's fixture and every folder named in TOKENIZER_GOLDENS, and prints a line for each file.
 */
import { describe, expect, test } from 'vitest';
import { readNormalizer, toWellFormed } from '../../tokenizer/normalize.ts';
import { readPatterns, readPreTokenizer, regexSplitter } from '../../tokenizer/pretokenize.ts';
import type { Splitter } from '../../tokenizer/scanners.ts';
import type { Tokenizer } from '../../tokenizer/tokenizer.ts';
import { type Fixture, fixtureFolders } from '../fixture-folders.ts';
import { isModelName, loadTokenizer, PATIENT, tokenizerOf } from './tokenizers.ts';

interface EncodeGolden {
  ids: number[];
  ids_plain?: number[];
  ids_split_special?: number[];
  decoded?: string;
  decoded_skip_special?: string;
}
type EncodeRow = { id: string; text: string; unicode_sensitive?: boolean } & Record<string, unknown>;
interface DecodeRow {
  id: string;
  model: string;
  ids: number[];
  text: string;
  text_skip_special: string;
}
interface StreamRow {
  id: string;
  model: string;
  ids: number[];
  chunks: string[];
  chunks_skip_special?: string[];
  tail: string;
}
type PretokensRow = { id: string } & Record<string, unknown>;

/** Collects what differs, as lines for a message. */
class Differences {
  readonly lines: string[] = [];

  compare(what: string, found: unknown, wanted: unknown): void {
    const [a, b] = [JSON.stringify(found), JSON.stringify(wanted)];
    if (a !== b) this.lines.push(`${what}: found ${a}, wanted ${b}`);
  }

  tokenizer(model: string): Tokenizer | undefined {
    if (isModelName(model)) return tokenizerOf(model);
    this.lines.push(`there is no tokenizer for the model ${model}`);
    return undefined;
  }
}

/** The models that a row of encode.jsonl or pretokens.jsonl has results for. */
const modelsOf = (row: Record<string, unknown>): string[] =>
  Object.keys(row).filter((key) => typeof row[key] === 'object');

function checkEncode(row: EncodeRow, differences: Differences): void {
  for (const model of modelsOf(row)) {
    const tokenizer = differences.tokenizer(model);
    if (!tokenizer) continue;
    const golden = row[model] as EncodeGolden;
    const { ids, ids_plain = ids, ids_split_special = ids, decoded = toWellFormed(row.text) } = golden;
    const encode = (special: 'parse' | 'plain' | 'split'): number[] =>
      Array.from(tokenizer.encode(row.text, { special, addBos: false }));
    differences.compare(`${model} ids`, encode('parse'), ids);
    differences.compare(`${model} ids_plain`, encode('plain'), ids_plain);
    differences.compare(`${model} ids_split_special`, encode('split'), ids_split_special);
    differences.compare(`${model} decoded`, tokenizer.decode(ids), decoded);
    const withoutSpecial = tokenizer.decode(ids, { skipSpecial: true });
    differences.compare(
      `${model} decoded_skip_special`,
      withoutSpecial,
      golden.decoded_skip_special ?? decoded,
    );
  }
}

function checkDecode(row: DecodeRow, differences: Differences): void {
  const tokenizer = differences.tokenizer(row.model);
  if (!tokenizer) return;
  differences.compare('text', tokenizer.decode(row.ids), row.text);
  differences.compare(
    'text_skip_special',
    tokenizer.decode(row.ids, { skipSpecial: true }),
    row.text_skip_special,
  );
}

function checkStream(row: StreamRow, differences: Differences): void {
  const tokenizer = differences.tokenizer(row.model);
  if (!tokenizer) return;
  for (const skipSpecial of [false, true]) {
    const stream = tokenizer.createStream({ skipSpecial });
    const chunks = row.ids.map((id) => stream.push(id));
    const wanted = (skipSpecial && row.chunks_skip_special) || row.chunks;
    differences.compare(`chunks, skipSpecial ${skipSpecial}`, chunks, wanted);
    differences.compare(`tail, skipSpecial ${skipSpecial}`, stream.flush(), row.tail);
  }
}

function checkPretokens(row: PretokensRow, differences: Differences, texts: Map<string, string>): void {
  const text = texts.get(row.id);
  if (text === undefined) differences.lines.push('encode.jsonl has no row with this id');
  for (const model of modelsOf(row)) {
    if (!differences.tokenizer(model) || !isModelName(model) || text === undefined) continue;
    const { normalizer, preTokenizer } = loadTokenizer(model);
    const normalized = readNormalizer(normalizer)(toWellFormed(text));
    const splitters: [string, Splitter][] = [
      ['scanner', readPreTokenizer(preTokenizer)],
      ['regex', regexSplitter(readPatterns(preTokenizer))],
    ];
    for (const [name, split] of splitters) {
      const ends: number[] = [];
      split(normalized, ends);
      const pieces = ends.map((end, i) => normalized.slice(ends[i - 1] ?? 0, end));
      differences.compare(`${model} pieces by ${name}`, pieces, row[model]);
    }
  }
}

async function readRows<Row>(fixture: Fixture, file: string): Promise<Row[]> {
  const bytes = (await fixture.source.readFile(file)) ?? new Uint8Array();
  const lines = new TextDecoder().decode(bytes).split('\n');
  return lines.filter((line) => line !== '').map((line) => JSON.parse(line) as Row);
}

/** Checks every row, prints the line of the file, and fails with the first differences. */
function checkRows<Row extends { id: string; unicode_sensitive?: boolean }>(
  name: string,
  rows: readonly Row[],
  check: (row: Row, differences: Differences) => void,
): void {
  const failures: string[] = [];
  const listed: string[] = [];
  for (const row of rows) {
    const differences = new Differences();
    check(row, differences);
    if (differences.lines.length === 0) continue;
    const lines = `${row.id}\n  ${differences.lines.join('\n  ')}`;
    if (row.unicode_sensitive) listed.push(lines);
    else failures.push(lines);
  }
  const numPassed = rows.length - failures.length - listed.length;
  console.log(`${name}: ${numPassed} of ${rows.length} rows, listed differences: ${listed.length}`);
  for (const lines of listed) {
    console.log(
      `  the oracle has older Unicode tables than this JavaScript engine (unicode_sensitive): ${lines}`,
    );
  }
  expect(rows.length, 'rows').toBeGreaterThan(0);
  expect(failures.length, `rows that differ:\n${failures.slice(0, 5).join('\n')}\n`).toBe(0);
}

for (const fixture of fixtureFolders('tokenizerGoldens')) {
  const nameOf = (file: string): string => `${fixture.name}/${file}`;
  const has = (file: string): boolean => fixture.files.includes(file);

  describe(`goldens ${fixture.name}`, PATIENT, () => {
    test.runIf(has('encode.jsonl'))(
      'encode gives the ids of the reference, in every mode, and decode the text',
      async () => {
        checkRows(nameOf('encode.jsonl'), await readRows<EncodeRow>(fixture, 'encode.jsonl'), checkEncode);
      },
    );

    test.runIf(has('encode.jsonl'))(
      'Qwen2.5 gives the ids of Qwen3, except for the tokens it lacks',
      async () => {
        const added = new Set(tokenizerOf('qwen2_5').addedTokens.map(({ content }) => content));
        const lacking = tokenizerOf('qwen3').addedTokens.filter(({ content }) => !added.has(content));
        const rows = await readRows<EncodeRow>(fixture, 'encode.jsonl');
        checkRows(`${nameOf('encode.jsonl')} with Qwen2.5`, rows, (row, differences) => {
          const golden = row.qwen3 as EncodeGolden | undefined;
          if (!golden) return;
          const encode = (special: 'parse' | 'plain'): number[] =>
            Array.from(tokenizerOf('qwen2_5').encode(row.text, { special }));
          differences.compare('ids_plain', encode('plain'), golden.ids_plain ?? golden.ids);
          if (lacking.some(({ content }) => row.text.includes(content))) return;
          differences.compare('ids', encode('parse'), golden.ids);
        });
      },
    );

    test.runIf(has('decode.jsonl'))('decode gives the text of arbitrary ids', async () => {
      checkRows(nameOf('decode.jsonl'), await readRows<DecodeRow>(fixture, 'decode.jsonl'), checkDecode);
    });

    test.runIf(has('stream.jsonl'))('a stream emits text as soon as it is certain', async () => {
      checkRows(nameOf('stream.jsonl'), await readRows<StreamRow>(fixture, 'stream.jsonl'), checkStream);
    });

    test.runIf(has('pretokens.jsonl'))('text is cut into the words of the reference', async () => {
      const encodeRows = await readRows<EncodeRow>(fixture, 'encode.jsonl');
      const texts = new Map(encodeRows.map(({ id, text }) => [id, text]));
      const rows = await readRows<PretokensRow>(fixture, 'pretokens.jsonl');
      checkRows(nameOf('pretokens.jsonl'), rows, (row, differences) =>
        checkPretokens(row, differences, texts),
      );
    });
  });
}
