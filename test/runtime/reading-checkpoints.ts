/** @file The embedded tiny-qwen3 as what it was not trained for: with the files of a model that embeds texts, or with the words of one that ranks. */
import type { Source } from '../../src/sources/source.ts';
import { fixtureFolders } from '../fixture-folders.ts';

export const tiny = fixtureFolders('tinyModels').find((f) => f.name === 'tiny-qwen3')!.source;

/** A checkpoint with other JSON files beside its own; undefined takes one away. */
export const withFiles = (source: Source, files: Readonly<Record<string, unknown>>): Source => ({
  label: source.label,
  readStart: (...given) => source.readStart(...given),
  stream: (...given) => source.stream(...given),
  async readFile(name, options) {
    if (!Object.hasOwn(files, name)) return source.readFile(name, options);
    return files[name] === undefined ? undefined : new TextEncoder().encode(JSON.stringify(files[name]));
  },
});

/** What Qwen3-Embedding has besides Qwen3. */
export const pooling = {
  pooling_mode_lasttoken: true,
  pooling_mode_mean_tokens: false,
  include_prompt: true,
};
export const modules = ['Transformer', 'Pooling', 'Normalize'].map((type, idx) => ({
  idx,
  name: String(idx),
  path: idx === 0 ? '' : `${idx}_${type}`,
  type: `sentence_transformers.models.${type}`,
}));
const EOT = '<|endoftext|>';

const tinyJson = async (name: string) => JSON.parse(new TextDecoder().decode(await tiny.readFile(name)));

/** Puts a token behind every text, as Qwen3-Embedding's tokenizer.json does. */
export async function embeddingFiles(): Promise<{ tokenizer: object; config: object; source: Source }> {
  const tokenizer = await tinyJson('tokenizer.json');
  const id = tokenizer.added_tokens.find((t: { content: string }) => t.content === EOT).id;
  tokenizer.post_processor = {
    type: 'Sequence',
    processors: [
      { type: 'ByteLevel', add_prefix_space: false, trim_offsets: false, use_regex: false },
      {
        type: 'TemplateProcessing',
        single: [{ Sequence: { id: 'A', type_id: 0 } }, { SpecialToken: { id: EOT, type_id: 0 } }],
        pair: [{ Sequence: { id: 'A', type_id: 0 } }, { Sequence: { id: 'B', type_id: 0 } }],
        special_tokens: { [EOT]: { id: EOT, ids: [id], tokens: [EOT] } },
      },
    ],
  };
  const files = { 'tokenizer.json': tokenizer, 'modules.json': modules, '1_Pooling/config.json': pooling };
  const config = await tinyJson('tokenizer_config.json');
  return { tokenizer, config, source: withFiles(tiny, files) };
}

/** Has a token "yes", in the place of one that nobody says here. "no" it has. */
export async function rankingSource(): Promise<Source> {
  const tokenizer = await tinyJson('tokenizer.json');
  const token = tokenizer.added_tokens.find((t: { content: string }) => t.content === '<tool_response>');
  token.content = 'yes';
  const config = await tinyJson('tokenizer_config.json');
  delete config.added_tokens_decoder;
  return withFiles(tiny, { 'tokenizer.json': tokenizer, 'tokenizer_config.json': config });
}
