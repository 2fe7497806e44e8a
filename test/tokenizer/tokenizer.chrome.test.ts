/** @file The tokenizer in a page: another JavaScript engine version, with its own Unicode tables and decoder. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { regexSplitter } from '../../tokenizer/pretokenize.ts';
import { DEEPSEEK_V3_PATTERNS, knownScanner, QWEN_PATTERNS } from '../../tokenizer/scanners.ts';
import { DecodeStream } from '../../tokenizer/stream.ts';
import { decodeUtf8 } from '../../tokenizer/utf8.ts';
import { fixtureFolders } from '../fixture-folders.ts';
import { anyText, piecesOf } from './any-text.ts';
import { evalFiles, expectRecordedIds } from './eval-cases.ts';

for (const fixture of fixtureFolders('tinyModels')) {
  test.each(evalFiles(fixture))(
    `the prompts and answers of ${fixture.name}/%s have the recorded ids`,
    (file) => expectRecordedIds(fixture, file),
  );
}

describe.each([
  ['Qwen', QWEN_PATTERNS],
  ['DeepSeek-V3', DEEPSEEK_V3_PATTERNS],
])('%s', (_, patterns) => {
  test('the hand-written scanner cuts text as the regular expressions do', () => {
    const scan = knownScanner(patterns)!;
    const split = regexSplitter(patterns.map((pattern) => ({ pattern, where: 'pattern' })));
    fc.assert(
      fc.property(anyText, (text) => {
        expect(piecesOf(scan, text)).toEqual(piecesOf(split, text));
      }),
      { numRuns: 500 },
    );
  });
});

test('streamed bytes give the text of the whole, broken UTF-8 or not', () => {
  const byteTokens = {
    has: () => true,
    numBytes: () => 1,
    copyBytes: (id: number, out: DataView, at: number) => {
      out.setUint8(at, id);
      return at + 1;
    },
  };
  const anyByte = fc.oneof(
    fc.integer({ min: 0, max: 255 }),
    fc.constantFrom(0xe0, 0xed, 0xef, 0xf0, 0xf4, 0x80, 0x9f, 0xa0, 0xbb, 0xbf, 0xc2, 0x41),
  );
  fc.assert(
    fc.property(fc.array(anyByte, { maxLength: 12 }), (bytes) => {
      const stream = new DecodeStream(byteTokens, decodeUtf8, () => false);
      const text = bytes.map((byte) => stream.push(byte)).join('') + stream.flush();
      expect(text).toBe(decodeUtf8(Uint8Array.from(bytes)));
    }),
    { numRuns: 2000 },
  );
});
