/**
 * @file From pieces back to text: reads the `decoder` section of a tokenizer.json of SentencePiece's kind. Each token stands for bytes
 * of its own; only the first token of a text may stand for others, without the space that encoding has put there.
 */
import { TokenizerError } from './errors.ts';
import {
  type JsonObject,
  readBoolean,
  readObject,
  readSteps,
  readString,
  rejectUnknownKeys,
  unsupported,
} from './json.ts';
import type { TextReader } from './stream.ts';
import { characterBytes, decodeUtf8 } from './utf8.ts';

export interface PieceDecoder {
  /** The text that a token stands for, or its byte. */
  readonly shown: (token: string) => string | number;
  /** The same at the beginning of a text. */
  readonly shownFirst: ((token: string) => string | number) | undefined;
  readonly readText: TextReader;
}

const SUPPORTED = '"Metaspace", or Replace, ByteFallback, Fuse and Strip in this order, in a Sequence';

/** As the library `tokenizers` reads it, sign included. */
const BYTE_TOKEN = /^<0x([0-9A-Fa-f]{2}|\+[0-9A-Fa-f])>$/;

export function readPieceDecoder(json: unknown): PieceDecoder {
  const steps = readSteps(json, 'decoder', 'decoders');
  if (steps.length === 1 && steps[0]!.type === 'Metaspace') {
    const { replacement, prependScheme } = readMetaspace(steps[0]!.step, steps[0]!.where);
    return {
      shown: (token) => token.replaceAll(replacement, ' '),
      shownFirst: prependScheme === 'never' ? undefined : (token) => token.replaceAll(replacement, ''),
      readText: decodeUtf8,
    };
  }
  const replaced: { pattern: string; content: string }[] = [];
  let hasBytes = false;
  let stripped: string | undefined;
  let previous = '';
  for (const { step, where, type } of steps) {
    if (type === 'Replace' && (previous === '' || previous === 'Replace')) {
      replaced.push(readReplace(step, where));
    } else if (type === 'ByteFallback' && (previous === '' || previous === 'Replace')) {
      rejectUnknownKeys(step, where, ['type']);
      hasBytes = true;
    } else if (type === 'Fuse' && previous !== 'Fuse' && previous !== 'Strip') {
      rejectUnknownKeys(step, where, ['type']);
    } else if (type === 'Strip' && previous === 'Fuse') {
      stripped = readStrip(step, where);
    } else {
      throw unsupported(`${where}.type`, type, SUPPORTED);
    }
    previous = type;
  }
  if (steps.length === 0) throw unsupported('decoder', json, SUPPORTED);
  const shown = (token: string): string | number => {
    const text = replaced.reduce(
      (before, { pattern, content }) => before.replaceAll(pattern, () => content),
      token,
    );
    const digits = hasBytes ? BYTE_TOKEN.exec(text)?.[1] : undefined;
    return digits === undefined ? text : Number.parseInt(digits, 16);
  };
  const shownFirst = (token: string): string | number => {
    const text = shown(token);
    if (typeof text === 'number') return stripped === String.fromCharCode(text) ? '' : text;
    return text.startsWith(stripped!) ? text.slice(stripped!.length) : text;
  };
  return { shown, shownFirst: stripped === undefined ? undefined : shownFirst, readText: readPieceText };
}

/** The pattern and the content of a Replace step that looks for a plain text. */
function readReplace(step: JsonObject, where: string): { pattern: string; content: string } {
  rejectUnknownKeys(step, where, ['type', 'pattern', 'content']);
  const object = readObject(step.pattern, `${where}.pattern`);
  rejectUnknownKeys(object, `${where}.pattern`, ['String']);
  const pattern = readString(object.String, `${where}.pattern.String`);
  if (pattern === '') throw unsupported(`${where}.pattern.String`, pattern, 'a text that is not empty');
  const content = readString(step.content, `${where}.content`);
  if (content === '') throw unsupported(`${where}.content`, content, 'a text that is not empty');
  return { pattern, content };
}

/** What is taken off the beginning, if anything. */
function readStrip(step: JsonObject, where: string): string | undefined {
  rejectUnknownKeys(step, where, ['type', 'content', 'start', 'stop']);
  const content = readString(step.content, `${where}.content`);
  if ([...content].length !== 1 || content > '\x7f') {
    throw unsupported(`${where}.content`, content, 'one ASCII character');
  }
  if (step.start !== 0 && step.start !== 1) throw unsupported(`${where}.start`, step.start, '0, 1');
  if (step.stop !== 0) throw unsupported(`${where}.stop`, step.stop, '0');
  return step.start === 1 ? content : undefined;
}

/** The options of Metaspace, which is a decoder and a pre-tokenizer. */
export function readMetaspace(
  step: JsonObject,
  where: string,
): { replacement: string; prependScheme: string; isSplit: boolean } {
  rejectUnknownKeys(step, where, [
    'type',
    'replacement',
    'prepend_scheme',
    'split',
    'add_prefix_space',
    'str_rep',
  ]);
  const replacement = readString(step.replacement, `${where}.replacement`);
  if ([...replacement].length !== 1 || replacement === ' ') {
    throw unsupported(`${where}.replacement`, replacement, 'one character that is not a space');
  }
  const { prepend_scheme: prependScheme = 'always' } = step;
  if (prependScheme !== 'always' && prependScheme !== 'first' && prependScheme !== 'never') {
    throw unsupported(`${where}.prepend_scheme`, prependScheme, '"always", "first", "never"');
  }
  const hasPrefix = readBoolean(
    step.add_prefix_space,
    `${where}.add_prefix_space`,
    prependScheme !== 'never',
  );
  if (!hasPrefix && prependScheme !== 'never') {
    throw new TokenizerError(
      `${where}.add_prefix_space is false and ${where}.prepend_scheme ${JSON.stringify(prependScheme)}; supported: options that agree`,
    );
  }
  return { replacement, prependScheme, isSplit: readBoolean(step.split, `${where}.split`, true) };
}

/** As SentencePiece does: every byte that is not UTF-8 becomes a U+FFFD of its own. */
function readPieceText(bytes: Uint8Array): string {
  const text = decodeUtf8(bytes);
  if (!text.includes('\ufffd')) return text;
  const valid = new Uint8Array(bytes.length * 3);
  let length = 0;
  for (let at = 0; at < bytes.length; ) {
    const numBytes = characterBytes(bytes, at);
    const part = numBytes === 0 ? REPLACEMENT : bytes.subarray(at, at + numBytes);
    valid.set(part, length);
    length += part.length;
    at += numBytes || 1;
  }
  return decodeUtf8(valid.subarray(0, length));
}

/** U+FFFD. */
const REPLACEMENT = Uint8Array.of(0xef, 0xbf, 0xbd);
