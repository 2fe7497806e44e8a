/**
 * @file Which tokens begin, end and pad a text, and which are added, from tokenizer_config.json and the `post_processor` section of
 * tokenizer.json.
 */
import { type AddedToken, checkCount, readAddedToken } from './added-tokens.ts';
import { TokenizerError } from './errors.ts';
import {
  describe,
  readArray,
  readBoolean,
  readObject,
  readSteps,
  readString,
  rejectUnknownKeys,
  unsupported,
} from './json.ts';

export interface TokenizerConfig {
  readonly bosToken: string | undefined;
  readonly eosToken: string | undefined;
  readonly padToken: string | undefined;
  /** undefined: the file does not say. */
  readonly addBosToken: boolean | undefined;
  readonly addEosToken: boolean | undefined;
  /** Of `added_tokens_decoder`: they are added to those of tokenizer.json, and their flags win. */
  readonly addedTokens: readonly AddedToken[];
}

/** @param json tokenizer_config.json, parsed; null or undefined where the checkpoint has none. */
export function readTokenizerConfig(json: unknown): TokenizerConfig {
  const config = readObject(json ?? {}, 'the file');
  const flag = (key: string): boolean | undefined =>
    (config[key] ?? null) === null ? undefined : readBoolean(config[key], key, false);
  const decoder = readObject(config.added_tokens_decoder ?? {}, 'added_tokens_decoder');
  const added = Object.entries(decoder);
  checkCount(added.length, 'added_tokens_decoder');
  return {
    bosToken: readToken(config.bos_token, 'bos_token'),
    eosToken: readToken(config.eos_token, 'eos_token'),
    padToken: readToken(config.pad_token, 'pad_token'),
    addBosToken: flag('add_bos_token'),
    addEosToken: flag('add_eos_token'),
    addedTokens: added.map(([id, token]) => {
      const where = `added_tokens_decoder[${describe(id)}]`;
      return readAddedToken({ ...readObject(token, where), id: Number(id) }, where);
    }),
  };
}

/** A token is given as its text, or as an object with its text in `content`. */
function readToken(json: unknown, where: string): string | undefined {
  if (json === null || json === undefined) return undefined;
  if (typeof json === 'string') return json;
  return readString(readObject(json, where).content, `${where}.content`);
}

/** Tokens that the `post_processor` section of tokenizer.json puts around a text. */
export interface TemplateTokens {
  readonly before: string | undefined;
  readonly after: string | undefined;
}

/**
 * ByteLevel, which only moves offsets, adds none.
 * @param idOf the id of a token; `special_tokens` may give no other.
 */
export function readTemplate(json: unknown, idOf: (token: string) => number | undefined): TemplateTokens {
  let template: TemplateTokens = { before: undefined, after: undefined };
  for (const { step, where, type } of readSteps(json, 'post_processor', 'processors')) {
    if (type === 'ByteLevel') continue;
    if (type !== 'TemplateProcessing')
      throw unsupported(`${where}.type`, type, '"ByteLevel", "TemplateProcessing"');
    rejectUnknownKeys(step, where, ['type', 'single', 'pair', 'special_tokens']);
    const parts = readArray(step.single, `${where}.single`).map((part, i) =>
      readObject(part, `${where}.single[${i}]`),
    );
    const at = parts.findIndex((part) => part.Sequence !== undefined);
    if (
      at < 0 ||
      at > 1 ||
      parts.length > at + 2 ||
      template.before !== undefined ||
      template.after !== undefined
    ) {
      throw new TokenizerError(
        `${where}.single has ${parts.length} parts; supported: the text, with or without one token before and one after it`,
      );
    }
    const tokenAt = (i: number): string | undefined => {
      if (i < 0 || i >= parts.length) return undefined;
      const path = `${where}.single[${i}].SpecialToken`;
      const token = readString(readObject(parts[i]!.SpecialToken, path).id, `${path}.id`);
      const known = readObject(step.special_tokens ?? {}, `${where}.special_tokens`);
      if (Object.hasOwn(known, token)) {
        const tokenPath = `${where}.special_tokens[${describe(token)}]`;
        const ids = readArray(readObject(known[token], tokenPath).ids, `${tokenPath}.ids`);
        const id = ids.length === 1 ? ids[0] : ids;
        if (id !== idOf(token))
          throw unsupported(`${tokenPath}.ids`, id, `${idOf(token)}, the id of this token`);
      }
      return token;
    };
    template = { before: tokenAt(at - 1), after: tokenAt(at + 1) };
  }
  return template;
}
