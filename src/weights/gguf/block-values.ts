/**
 * @file What numbers of a block are multiplied with and what is added to them, read from the parts of a row on the host, in plain steps
 * that share nothing with the kernels.
 */
import { f16Value } from '../decode.ts';

/** Of value i of a row. */
export type ReadRow = (
  parts: Readonly<Record<string, DataView>>,
  i: number,
) => { factor: number; offset: number };

/** Leaves also a zero with a sign as it is. */
const NONE = -0;

type Parts = { scale: DataView; super: DataView };

const halfAt = (view: DataView, at: number): number => f16Value(view.getUint16(at, true));

export const readHalf: ReadRow = (parts, i) => ({
  factor: halfAt((parts as Parts).scale, 2 * (i >> 5)),
  offset: NONE,
});

export const readPair: ReadRow = (parts, i) => {
  const { scale } = parts as Parts;
  const at = 4 * (i >> 5);
  return { factor: halfAt(scale, at), offset: halfAt(scale, at + 2) };
};

export const readExponent: ReadRow = (parts, i) => ({
  factor: 2 ** ((parts as Parts).scale.getUint8(i >> 5) - 128),
  offset: NONE,
});

export const readK2: ReadRow = (parts, i) => {
  const { scale, super: both } = parts as Parts;
  const byte = scale.getUint8(i >> 4);
  const at = 4 * (i >> 8);
  return { factor: halfAt(both, at) * (byte & 15), offset: -halfAt(both, at + 2) * (byte >> 4) };
};

export const readK3: ReadRow = (parts, i) => {
  const { scale } = parts as Parts;
  const at = 16 * (i >> 8);
  const n = (i & 255) >> 4;
  const low = (scale.getUint8(at + (n % 8)) >> (n < 8 ? 0 : 4)) & 15;
  const high = (scale.getUint8(at + 8 + (n % 4)) >> (2 * (n >> 2))) & 3;
  return { factor: halfAt(scale, at + 12) * (low + 16 * high - 32), offset: NONE };
};

export const readK4: ReadRow = (parts, i) => {
  const { scale } = parts as Parts;
  const at = 16 * (i >> 8);
  const j = (i & 255) >> 5;
  const byte = (n: number): number => scale.getUint8(at + 4 + n);
  const [factor, offset] =
    j < 4
      ? [byte(j) & 63, byte(j + 4) & 63]
      : [(byte(j + 4) & 15) + 16 * (byte(j - 4) >> 6), (byte(j + 4) >> 4) + 16 * (byte(j) >> 6)];
  return { factor: halfAt(scale, at) * factor, offset: -halfAt(scale, at + 2) * offset };
};

export const readK6: ReadRow = (parts, i) => {
  const { scale, super: halves } = parts as Parts;
  return { factor: halfAt(halves, 2 * (i >> 8)) * scale.getInt8(i >> 4), offset: NONE };
};

export const readIq4: ReadRow = (parts, i) => {
  const { scale } = parts as Parts;
  const at = 8 * (i >> 8);
  const j = (i & 255) >> 5;
  const low = (scale.getUint8(at + 4 + (j >> 1)) >> (4 * (j & 1))) & 15;
  const high = (scale.getUint16(at + 2, true) >> (2 * j)) & 3;
  return { factor: halfAt(scale, at) * (low + 16 * high - 32), offset: NONE };
};
