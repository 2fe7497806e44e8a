/**
 * @file The tensor types of GGUF files: how many values make a block, and how many bytes that has. It must not know what the bytes
 * of a block mean (blocks.ts).
 * Source: ggml, ggml_type and the block_* structures.
 */
import { UnsupportedConfigError } from '../../errors.ts';
import { quoted } from '../json.ts';

/** Types that stay packed on the GPU. */
export type BlockType =
  | 'Q4_0'
  | 'Q4_1'
  | 'Q5_0'
  | 'Q5_1'
  | 'Q8_0'
  | 'Q2_K'
  | 'Q3_K'
  | 'Q4_K'
  | 'Q5_K'
  | 'Q6_K'
  | 'IQ4_NL'
  | 'IQ4_XS'
  | 'MXFP4';

export type TensorType = BlockType | 'F32' | 'F16' | 'BF16';

export interface TypeLayout {
  readonly name: TensorType;
  /** Values in a block, along a row. */
  readonly values: number;
  readonly bytes: number;
}

const row = (id: number, name: TensorType, values: number, bytes: number): [number, TypeLayout] => [
  id,
  { name, values, bytes },
];

/** By number. */
export const TYPES: ReadonlyMap<number, TypeLayout> = new Map([
  row(0, 'F32', 1, 4),
  row(1, 'F16', 1, 2),
  row(2, 'Q4_0', 32, 18),
  row(3, 'Q4_1', 32, 20),
  row(6, 'Q5_0', 32, 22),
  row(7, 'Q5_1', 32, 24),
  row(8, 'Q8_0', 32, 34),
  row(10, 'Q2_K', 256, 84),
  row(11, 'Q3_K', 256, 110),
  row(12, 'Q4_K', 256, 144),
  row(13, 'Q5_K', 256, 176),
  row(14, 'Q6_K', 256, 210),
  row(20, 'IQ4_NL', 32, 18),
  row(23, 'IQ4_XS', 256, 136),
  row(30, 'BF16', 1, 2),
  row(39, 'MXFP4', 32, 17),
]);

/** Types that are not read, by the names that people know. */
const OTHERS: Readonly<Record<number, string>> = {
  4: 'Q4_2',
  5: 'Q4_3',
  9: 'Q8_1',
  15: 'Q8_K',
  16: 'IQ2_XXS',
  17: 'IQ2_XS',
  18: 'IQ3_XXS',
  19: 'IQ1_S',
  21: 'IQ3_S',
  22: 'IQ2_S',
  24: 'I8',
  25: 'I16',
  26: 'I32',
  27: 'I64',
  28: 'F64',
  29: 'IQ1_M',
  34: 'TQ1_0',
  35: 'TQ2_0',
  40: 'NVFP4',
  41: 'Q1_0',
  42: 'Q2_0',
};

/** @throws UnsupportedConfigError naming the type, when it is not read */
export function layoutOf(id: number, tensor: string, where: string): TypeLayout {
  const layout = TYPES.get(id);
  if (layout) return layout;
  throw new UnsupportedConfigError(
    `${where}: the tensor ${quoted(tensor)} is of type ${OTHERS[id] ? `${OTHERS[id]} (${id})` : `${id}, which is not known`}; what is read is ` +
      `${[...TYPES.values()].map(({ name }) => name).join(', ')}. Choose a file in one of these, as Q4_K_M and Q8_0 files are.`,
  );
}
