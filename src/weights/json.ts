/** @file JSON out of untrusted files: the decoding, the shape check and the words of the errors. */
import { CorruptCheckpointError } from '../errors.ts';

/** A name from a file as an error message may show it: quoted, escaped and not too long. */
export function quoted(name: string): string {
  return JSON.stringify(name.length > 120 ? `${name.slice(0, 120)}…` : name);
}

/**
 * Decodes a UTF-8 JSON object.
 * @param where the file, as the message should name it
 * @throws CorruptCheckpointError
 */
export function parseJsonObject(bytes: Uint8Array, where: string): Record<string, unknown> {
  checkDepth(bytes, where);
  return parse(decodeUtf8(bytes, where), where);
}

/** Like `parseJsonObject`, but a key that comes twice in one object is an error too: which one holds is anyone's guess. */
export function parseStrictJsonObject(bytes: Uint8Array, where: string): Record<string, unknown> {
  checkDepth(bytes, where);
  const text = decodeUtf8(bytes, where);
  const object = parse(text, where);
  const duplicate = findDuplicateKey(text);
  if (duplicate !== undefined) {
    throw new CorruptCheckpointError(
      `${where}: the key ${quoted(duplicate)} comes twice in one JSON object, so the file contradicts itself. ` +
        'Download the file again, or report it where it was published.',
    );
  }
  return object;
}

export function isJsonObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function decodeUtf8(bytes: Uint8Array, where: string): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    throw new CorruptCheckpointError(`${where}: not UTF-8, so not JSON. Download the file again.`);
  }
}

function parse(text: string, where: string): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    const hint = /[:,[\s-](NaN|Infinity)\b/.test(text)
      ? 'Python writes NaN and Infinity, which JSON does not have: replace them by null or a number.'
      : 'Download the file again.';
    throw new CorruptCheckpointError(`${where}: not valid JSON (${(error as Error).message}). ${hint}`);
  }
  if (isJsonObject(value)) return value;
  const found = value === null ? 'null' : Array.isArray(value) ? 'an array' : `a ${typeof value}`;
  throw new CorruptCheckpointError(
    `${where}: holds ${found}, wanted a JSON object. Download the file again.`,
  );
}

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const COLON = 0x3a;
const OPEN_BRACE = 0x7b;
const CLOSE_BRACE = 0x7d;
const OPEN_BRACKET = 0x5b;
const CLOSE_BRACKET = 0x5d;

/** Far more than any file of a checkpoint has; JSON.parse takes seconds for millions, JSON.stringify overflows the stack. */
const MAX_DEPTH = 64;

function checkDepth(bytes: Uint8Array, where: string): void {
  let depth = 0;
  for (let i = 0; i < bytes.length && depth <= MAX_DEPTH; i++) {
    const byte = bytes[i];
    if (byte === QUOTE) {
      for (i += 1; i < bytes.length && bytes[i] !== QUOTE; i++) if (bytes[i] === BACKSLASH) i += 1;
    } else if (byte === OPEN_BRACE || byte === OPEN_BRACKET) depth += 1;
    else if (byte === CLOSE_BRACE || byte === CLOSE_BRACKET) depth -= 1;
  }
  if (depth <= MAX_DEPTH) return;
  throw new CorruptCheckpointError(
    `${where}: the JSON is nested too deeply, more than ${MAX_DEPTH} levels. Do not use this checkpoint unless you trust ` +
      'where it comes from; download it again.',
  );
}

/** The first key that comes twice in one object of `text`, which is valid JSON. JSON.parse keeps the last in silence. */
function findDuplicateKey(text: string): string | undefined {
  const open: (Set<string> | undefined)[] = []; // the keys seen in each open object; undefined for an array
  let lastString = '';
  for (let i = 0; i < text.length; i++) {
    switch (text.charCodeAt(i)) {
      case QUOTE: {
        const begin = i;
        let isEscaped = false;
        for (i += 1; text.charCodeAt(i) !== QUOTE; i++) {
          if (text.charCodeAt(i) !== BACKSLASH) continue;
          isEscaped = true;
          i += 1;
        }
        lastString = isEscaped ? (JSON.parse(text.slice(begin, i + 1)) as string) : text.slice(begin + 1, i);
        break;
      }
      case COLON: {
        const keys = open.at(-1)!;
        if (keys.has(lastString)) return lastString;
        keys.add(lastString);
        break;
      }
      case OPEN_BRACE:
        open.push(new Set());
        break;
      case OPEN_BRACKET:
        open.push(undefined);
        break;
      case CLOSE_BRACE:
      case CLOSE_BRACKET:
        open.pop();
        break;
    }
  }
  return undefined;
}
