/** @file Tokenizers and chat templates of GGUF files, against what the `tokenizers` library gives for the pipelines that they name. */
import { describe, expect, test } from 'vitest';
import { openCheckpoint } from '../../../src/weights/checkpoint.ts';
import type { MetadataValue } from '../../../src/weights/gguf/container.ts';
import { tokenizerFilesOf } from '../../../src/weights/gguf/tokenizer.ts';
import { ChatTemplate } from '../../../tokenizer/chat-template.ts';
import { Tokenizer } from '../../../tokenizer/tokenizer.ts';
import { fixtureFolders } from '../../fixture-folders.ts';

interface Golden {
  config_expected: Record<string, unknown>;
  tokenizer: {
    add_bos: boolean;
    bos: number | null;
    encode: { text: string; ids: number[] }[];
    chat: {
      messages: { role: string; content: string }[];
      kwargs: Record<string, unknown>;
      text: string;
      ids: number[];
    }[];
  };
}

const fixtures = fixtureFolders('goldens').filter(({ name, files }) => {
  return name.startsWith('gguf-') && files.includes('golden.json');
});

describe.each(fixtures)('$name', ({ source }) => {
  const opened = (async () => {
    const { config, made } = await openCheckpoint(source);
    const golden = JSON.parse(new TextDecoder().decode(await source.readFile('golden.json'))) as Golden;
    const tokenizerConfig = made!['tokenizer_config.json']!;
    const tokenizer = await Tokenizer.load(made!['tokenizer.json'], tokenizerConfig);
    return { config, golden, tokenizer, template: ChatTemplate.fromCheckpoint({ tokenizerConfig }) };
  })();

  test('has the config that its metadata stand for', async () => {
    const { config, golden } = await opened;
    const { rope_scaling: wantedScaling, ...wanted } = golden.config_expected;
    // A list of factors stands for llama3's scaling; one type has two names.
    const { rope_scaling: scaling, ...rest } = config;
    expect(rest).toMatchObject(wanted);
    if ((scaling as { rope_type?: string } | undefined)?.rope_type === 'yarn') {
      const { type, ...keys } = wantedScaling as Record<string, unknown>;
      expect(scaling).toMatchObject(keys);
    }
  });

  test('encodes texts as the library does, and decodes them', async () => {
    const { golden, tokenizer } = await opened;
    for (const { text, ids } of golden.tokenizer.encode) {
      expect([...tokenizer.encode(text, { addBos: false })], JSON.stringify(text)).toEqual(ids);
      expect(tokenizer.decode(ids).normalize('NFC')).toBe(text.normalize('NFC'));
    }
    const [bos] = tokenizer.encode('x');
    expect(bos === golden.tokenizer.bos).toBe(golden.tokenizer.add_bos);
  });

  test('renders conversations as its template says', async () => {
    const { golden, tokenizer, template } = await opened;
    for (const { messages, kwargs, text, ids } of golden.tokenizer.chat) {
      const { add_generation_prompt, ...templateArgs } = kwargs;
      const addGenerationPrompt = add_generation_prompt === true;
      const rendered = template.render(messages, { addGenerationPrompt, templateArgs });
      expect(rendered).toBe(text);
      expect([...tokenizer.encode(rendered, { addBos: false })]).toEqual(ids);
    }
  });
});

interface Pieces {
  pieces: string[];
  scores: number[];
  texts: string[];
  sentencepiece: {
    name: string;
    prefix: boolean;
    scores: number[] | null;
    rows: [text: number, ids: number[], decoded: string | null][];
  }[];
}

describe('a vocabulary of SentencePiece', async () => {
  const { default: fixture } = (await import('../../fixtures/tokenizer-pieces.json')) as unknown as {
    default: Pieces;
  };
  const { pieces, texts } = fixture;
  const types = pieces.map((piece, id) =>
    id === 0 ? 2 : id < 3 ? 3 : id < 6 ? 4 : /^<0x..>$/.test(piece) ? 6 : 1,
  );

  test.each(fixture.sentencepiece)(
    '$name: texts have the ids that the library gives',
    async ({ prefix, scores, rows }) => {
      const { tokenizer: json, tokenizerConfig } = tokenizerFilesOf(
        new Map<string, MetadataValue>([
          ['tokenizer.ggml.model', 'llama'],
          ['tokenizer.ggml.tokens', pieces],
          ['tokenizer.ggml.token_type', types],
          ['tokenizer.ggml.scores', scores ?? fixture.scores],
          ['tokenizer.ggml.add_space_prefix', prefix],
          ['tokenizer.ggml.bos_token_id', 1],
          ['tokenizer.ggml.eos_token_id', 2],
        ]),
        'a file',
      );
      const tokenizer = await Tokenizer.load(json, tokenizerConfig);
      expect(tokenizer.encode('x')[0]).toBe(1);
      for (const [number, ids, decoded] of rows) {
        const text = texts[number]!;
        // The library puts the space before the text only; llama.cpp before each stretch between the user's own tokens, too.
        if (prefix && /<sep>|\[x\]|▁{4}| {4}/.test(text)) continue;
        const found = [...tokenizer.encode(text, { special: 'split', addBos: false })];
        expect(found, JSON.stringify(text)).toEqual(ids);
        expect(tokenizer.decode(ids), JSON.stringify(text)).toBe(decoded ?? text);
      }
    },
  );
});
