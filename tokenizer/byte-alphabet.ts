/**
 * @file The alphabet of byte-level BPE (GPT-2): every byte has a printable character, so that vocabularies can be written
 * as text. Printable Latin-1 bytes stand for themselves, the other 68 are the characters from U+0100 on, in order.
 */

const isPrintable = (byte: number): boolean =>
  (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;

/** Above every character of the alphabet; the last is U+0143. */
const CHAR_LIMIT = 0x144;
const charOfByte = new Uint16Array(256);
const byteOfChar = new Int16Array(CHAR_LIMIT).fill(-1);

for (let byte = 0, next = 0x100; byte < 256; byte++) {
  const char = isPrintable(byte) ? byte : next++;
  charOfByte[byte] = char;
  byteOfChar[char] = byte;
}

/** Whether every character of `text` is in the alphabet. */
export const isAlphabetText = (text: string): boolean => /^[!-~\xa1-\xac\xae-\u0143]*$/.test(text);

/**
 * Writes the bytes that the characters of `text` stand for to `out` from `at` on, one byte a character (there must be
 * room). False if a character is not in the alphabet; then the contents of `out` are meaningless.
 */
export function writeAlphabetBytes(text: string, out: Uint8Array, at: number): boolean {
  for (let i = 0; i < text.length; i++) {
    const char = text.charCodeAt(i);
    const byte = char < CHAR_LIMIT ? byteOfChar[char]! : -1;
    if (byte < 0) return false;
    out[at + i] = byte;
  }
  return true;
}

/** Bytes written in the alphabet: the inverse of writeAlphabetBytes. */
export function alphabetText(bytes: Uint8Array): string {
  let text = '';
  for (const byte of bytes) text += String.fromCharCode(charOfByte[byte]!);
  return text;
}
