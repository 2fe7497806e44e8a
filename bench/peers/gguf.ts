/** @file Writes GGUF files: as much of the format as a model of plain and Q4_0 tensors needs. Knows no model. */

/** Element types of ggml. */
const GGML_TYPES = { f32: 0, q4_0: 2 } as const;

export interface GgufTensor {
  name: string;
  type: keyof typeof GGML_TYPES;
  /** Rows first, as everywhere here; the file has columns first. */
  shape: readonly number[];
  data: Uint8Array;
}

export type GgufValue =
  | { type: 'u32' | 'f32'; value: number }
  | { type: 'bool'; value: boolean }
  | { type: 'string'; value: string }
  | { type: 'strings'; value: readonly string[] }
  | { type: 'i32s'; value: readonly number[] };

const VALUE_TYPES = { u32: 4, i32: 5, f32: 6, bool: 7, string: 8, array: 9 } as const;
const VERSION = 3;
const ALIGNMENT = 32;

const u32 = (value: number): Uint8Array => new Uint8Array(Uint32Array.of(value).buffer);
const u64 = (value: number): Uint8Array => new Uint8Array(BigUint64Array.of(BigInt(value)).buffer);
const f32 = (value: number): Uint8Array => new Uint8Array(Float32Array.of(value).buffer);

function string(text: string): Uint8Array[] {
  const bytes = new TextEncoder().encode(text);
  return [u64(bytes.length), bytes];
}

function metadata(entry: GgufValue): Uint8Array[] {
  switch (entry.type) {
    case 'u32':
      return [u32(VALUE_TYPES.u32), u32(entry.value)];
    case 'f32':
      return [u32(VALUE_TYPES.f32), f32(entry.value)];
    case 'bool':
      return [u32(VALUE_TYPES.bool), Uint8Array.of(entry.value ? 1 : 0)];
    case 'string':
      return [u32(VALUE_TYPES.string), ...string(entry.value)];
    case 'strings':
      return [
        u32(VALUE_TYPES.array),
        u32(VALUE_TYPES.string),
        u64(entry.value.length),
        ...entry.value.flatMap(string),
      ];
    case 'i32s':
      return [
        u32(VALUE_TYPES.array),
        u32(VALUE_TYPES.i32),
        u64(entry.value.length),
        new Uint8Array(Int32Array.from(entry.value).buffer),
      ];
    default:
      return entry satisfies never;
  }
}

const padding = (length: number): number => -length & (ALIGNMENT - 1);

/** The parts of a file, one behind the other. */
export function ggufFile(
  values: Readonly<Record<string, GgufValue>>,
  tensors: readonly GgufTensor[],
): Uint8Array[] {
  let offset = 0;
  const infos = tensors.flatMap(({ name, type, shape, data }) => {
    const info = [
      ...string(name),
      u32(shape.length),
      ...shape.toReversed().map(u64),
      u32(GGML_TYPES[type]),
      u64(offset),
    ];
    offset += data.length + padding(data.length);
    return info;
  });
  const head = [
    new TextEncoder().encode('GGUF'),
    u32(VERSION),
    u64(tensors.length),
    u64(Object.keys(values).length),
    ...Object.entries(values).flatMap(([key, value]) => [...string(key), ...metadata(value)]),
    ...infos,
  ];
  const headLength = head.reduce((sum, part) => sum + part.length, 0);
  return [
    ...head,
    new Uint8Array(padding(headLength)),
    ...tensors.flatMap(({ data }) => [data, new Uint8Array(padding(data.length))]),
  ];
}
