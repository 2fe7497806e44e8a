/**
 * @file Which tokens begin, end and pad a text, from tokenizer_config.json and the `post_processor` section of tokenizer.json.
 * The flags of added tokens are not read from tokenizer_config.json, which only repeats those of tokenizer.json.
 */
import { TokenizerError } from './errors.ts';
import {
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
}

/** @param json tokenizer_config.json, parsed; null or undefined where the checkpoint has none. */
export function readTokenizerConfig(json: unknown): TokenizerConfig {
  const config = readObject(json ?? {}, 'the file');
  if (readBoolean(config.add_eos_token, 'add_eos_token', false)) {
    throw unsupported('add_eos_token', true, 'false or absent');
  }
  return {
    bosToken: readToken(config.bos_token, 'bos_token'),
    eosToken: readToken(config.eos_token, 'eos_token'),
    padToken: readToken(config.pad_token, 'pad_token'),
    addBosToken:
      (config.add_bos_token ?? null) === null
        ? undefined
        : readBoolean(config.add_bos_token, 'add_bos_token', false),
  };
}

/** A token is given as its text, or as an object with its text in `content`. */
function readToken(json: unknown, where: string): string | undefined {
  if (json === null || json === undefined) return undefined;
  if (typeof json === 'string') return json;
  return readString(readObject(json, where).content, `${where}.content`);
}

/**
 * The token that the `post_processor` section of tokenizer.json puts before a text, if any. ByteLevel, which only moves
 * offsets, adds none.
 */
export function readTemplateBos(json: unknown): string | undefined {
  let bos: string | undefined;
  for (const { step, where, type } of readSteps(json, 'post_processor', 'processors')) {
    if (type === 'ByteLevel') continue;
    if (type !== 'TemplateProcessing')
      throw unsupported(`${where}.type`, type, '"ByteLevel", "TemplateProcessing"');
    rejectUnknownKeys(step, where, ['type', 'single', 'pair', 'special_tokens']);
    const parts = readArray(step.single, `${where}.single`).map((part, i) =>
      readObject(part, `${where}.single[${i}]`),
    );
    const [first, second] = parts.length === 2 ? parts : [undefined, parts[0]];
    if (parts.length < 1 || parts.length > 2 || second?.Sequence === undefined || bos !== undefined) {
      throw new TokenizerError(
        `${where}.single has ${parts.length} parts; supported: the text, with or without one token before it`,
      );
    }
    if (first !== undefined) {
      const token = readObject(first.SpecialToken, `${where}.single[0].SpecialToken`);
      bos = readString(token.id, `${where}.single[0].SpecialToken.id`);
    }
  }
  return bos;
}
