import fc from 'fast-check';

const NUM_SURROGATES = 0x800;

/** Any code point but surrogates. `unit: 'binary'` of fast-check is the same, and first spends a second on tables for shrinking. */
export const anyCharacter = fc
  .nat(0x10ffff - NUM_SURROGATES)
  .map((code) => String.fromCodePoint(code < 0xd800 ? code : code + NUM_SURROGATES));
