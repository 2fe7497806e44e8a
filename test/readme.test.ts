/** @file The table of what is read, in the README, is that of the code. `UPDATE_README=1` writes it. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { families } from '../src/models/index.ts';
import { convertedFormats } from '../src/weights/converted-formats.ts';
import { ARCHITECTURES } from '../src/weights/gguf/config.ts';
import { PRE_TOKENIZERS } from '../src/weights/gguf/pre-tokenizers.ts';
import { TYPES } from '../src/weights/gguf/types.ts';
import { KNOWN_QUANTIZATIONS } from '../src/weights/quantization.ts';

const README = join(import.meta.dirname, '../README.md');
const [BEGIN, END] = [
  '<!-- What is read: made from the code by test/readme.test.ts -->\n',
  '<!-- end of what is read -->',
];

const code = (names: Iterable<string>): string => [...names].map((name) => `\`${name}\``).join(', ');

/** GGUF architectures whose config is of a family. DeepSeek's two have one name there. */
const inGguf = (modelType: string): string[] =>
  Object.entries(ARCHITECTURES).flatMap(([name, { modelTypes }]) =>
    modelTypes.includes(modelType) ? [name] : [],
  );

function table(): string {
  const rows = families.map(
    ({ architectures, modelType }) =>
      `| ${code(architectures)} | \`${modelType}\` | ${code(inGguf(modelType)) || '-'} |`,
  );
  return [
    '| `architectures` | `model_type` | `general.architecture` of GGUF |',
    '| --- | --- | --- |',
    ...rows,
    '',
    `- \`quantization_config\`: ${KNOWN_QUANTIZATIONS}.`,
    `- Types of tensors in GGUF files: ${[...TYPES.values()].map(({ name }) => name).join(', ')}.`,
    `- \`tokenizer.ggml.pre\`: ${code(Object.keys(PRE_TOKENIZERS))}; \`tokenizer.ggml.model\`: \`gpt2\`, \`llama\`.`,
    `- \`weights\`, what 16- and 32-bit matrices can become: ${code(Object.keys(convertedFormats))}.`,
    '',
  ].join('\n');
}

test('the README says what is read', () => {
  const text = readFileSync(README, 'utf8');
  const [begin, end] = [text.indexOf(BEGIN) + BEGIN.length, text.indexOf(END)];
  if (process.env.UPDATE_README === '1') {
    writeFileSync(README, text.slice(0, begin) + table() + text.slice(end));
    return;
  }
  expect(text.slice(begin, end), 'run this test with UPDATE_README=1').toBe(table());
});

test('every architecture of GGUF files is of a family', () => {
  const known = families.map(({ modelType }) => modelType);
  for (const { modelTypes } of Object.values(ARCHITECTURES))
    expect(known).toEqual(expect.arrayContaining([...modelTypes]));
});
