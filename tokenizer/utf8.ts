/** @file UTF-8 decoding with U+FFFD for every maximal part that is not UTF-8, as the Unicode standard and TextDecoder do. */

const decoder = new TextDecoder('utf-8', { ignoreBOM: true });

/** Text of bytes; a leading U+FEFF is kept. */
export const decodeUtf8 = (bytes: Uint8Array): string => decoder.decode(bytes);

/**
 * How many bytes at the end of bytes[0, length) begin a UTF-8 sequence that later bytes may still complete: 0 to 3. Bytes that
 * can no longer become valid do not count.
 */
export function incompleteTail(bytes: Uint8Array, length: number): number {
  for (let size = 1; size <= 3 && size <= length; size++) {
    const lead = bytes[length - size]!;
    if (lead < 0x80) return 0;
    if (lead < 0xc0) continue;
    const wanted = wantedBytes(lead);
    return size < wanted && (size === 1 || isSecondByte(lead, bytes[length - size + 1]!)) ? size : 0;
  }
  return 0;
}

/** How many bytes the character at `at` has; 0: there is none. */
export function characterBytes(bytes: Uint8Array, at: number): number {
  const lead = bytes[at]!;
  const wanted = wantedBytes(lead);
  if (wanted === 1) return lead < 0x80 ? 1 : 0;
  if (at + wanted > bytes.length || !isSecondByte(lead, bytes[at + 1]!)) return 0;
  for (let i = at + 1; i < at + wanted; i++) if ((bytes[i]! & 0xc0) !== 0x80) return 0;
  return wanted;
}

/** How many bytes a character has that begins with `lead`; 1 for what begins none. */
const wantedBytes = (lead: number): number =>
  lead < 0xc2 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : lead < 0xf5 ? 4 : 1;

/** Some lead bytes narrow the byte after them: no overlong forms, no surrogates, nothing above U+10FFFF. */
function isSecondByte(lead: number, second: number): boolean {
  switch (lead) {
    case 0xe0:
      return second >= 0xa0;
    case 0xed:
      return second < 0xa0;
    case 0xf0:
      return second >= 0x90;
    case 0xf4:
      return second < 0x90;
    default:
      return true;
  }
}
