/** @file Writes small GGUF files, right ones and wrong ones. */

export type Value =
  | { type: 'u8' | 'u16' | 'u32' | 'i32' | 'u64' | 'f32'; value: number }
  | { type: 'bool'; value: boolean }
  | { type: 'string'; value: string }
  | { type: 'strings'; value: readonly string[] }
  | { type: 'i32s' | 'f32s'; value: readonly number[] }
  /** As it is, with the number of its type. */
  | { type: 'raw'; id: number; bytes: Uint8Array };

export interface TensorToWrite {
  name: string;
  /** Innermost first. */
  dims: readonly number[];
  type: number;
  bytes: Uint8Array;
  /** From the beginning of the data; behind the one before when left out. */
  offset?: number;
}

export interface FileToWrite {
  magic?: string;
  version?: number;
  keys?: readonly (readonly [key: string, value: Value])[];
  tensors?: readonly TensorToWrite[];
  /** What the header says there are. */
  counts?: { keys?: bigint; tensors?: bigint };
  alignment?: number;
}

const IDS = { u8: 0, u16: 2, u32: 4, i32: 5, f32: 6, bool: 7, string: 8, u64: 10 } as const;

export const u32 = (value: number): Value => ({ type: 'u32', value });
export const f32 = (value: number): Value => ({ type: 'f32', value });
export const text = (value: string): Value => ({ type: 'string', value });

class Bytes {
  readonly chunks: number[] = [];

  number(bytes: number, write: (view: DataView) => void): void {
    const view = new DataView(new ArrayBuffer(bytes));
    write(view);
    this.chunks.push(...new Uint8Array(view.buffer));
  }

  u32(value: number): void {
    this.number(4, (view) => view.setUint32(0, value, true));
  }

  u64(value: number | bigint): void {
    this.number(8, (view) => view.setBigUint64(0, BigInt(value), true));
  }

  text(value: string): void {
    const bytes = new TextEncoder().encode(value);
    this.u64(bytes.length);
    for (const byte of bytes) this.chunks.push(byte);
  }

  value(value: Value): void {
    switch (value.type) {
      case 'raw':
        this.u32(value.id);
        this.chunks.push(...value.bytes);
        return;
      case 'strings':
        this.u32(9);
        this.u32(8);
        this.u64(value.value.length);
        for (const one of value.value) this.text(one);
        return;
      case 'i32s':
      case 'f32s':
        this.u32(9);
        this.u32(value.type === 'i32s' ? 5 : 6);
        this.u64(value.value.length);
        for (const one of value.value) {
          this.number(4, (view) =>
            value.type === 'i32s' ? view.setInt32(0, one, true) : view.setFloat32(0, one, true),
          );
        }
        return;
      default:
        this.u32(IDS[value.type]);
        this.scalar(value);
    }
  }

  scalar(value: Extract<Value, { type: keyof typeof IDS }>): void {
    switch (value.type) {
      case 'u8':
        this.number(1, (view) => view.setUint8(0, value.value));
        break;
      case 'bool':
        this.number(1, (view) => view.setUint8(0, Number(value.value)));
        break;
      case 'u16':
        this.number(2, (view) => view.setUint16(0, value.value, true));
        break;
      case 'u32':
        this.u32(value.value);
        break;
      case 'i32':
        this.number(4, (view) => view.setInt32(0, value.value, true));
        break;
      case 'f32':
        this.number(4, (view) => view.setFloat32(0, value.value, true));
        break;
      case 'u64':
        this.u64(value.value);
        break;
      case 'string':
        this.text(value.value);
        break;
      default:
        value satisfies never;
    }
  }
}

export function writeGguf({
  magic = 'GGUF',
  version = 3,
  keys = [],
  tensors = [],
  counts = {},
  alignment = 32,
}: FileToWrite): Uint8Array<ArrayBuffer> {
  const out = new Bytes();
  for (const char of magic) out.chunks.push(char.charCodeAt(0));
  out.u32(version);
  out.u64(counts.tensors ?? tensors.length);
  out.u64(counts.keys ?? keys.length);
  for (const [key, value] of keys) {
    out.text(key);
    out.value(value);
  }
  const roundedUp = (n: number): number => Math.ceil(n / alignment) * alignment;
  let end = 0;
  const placed = tensors.map((tensor) => {
    const offset = tensor.offset ?? roundedUp(end);
    end = offset + tensor.bytes.length;
    return { ...tensor, offset };
  });
  for (const { name, dims, type, offset } of placed) {
    out.text(name);
    out.u32(dims.length);
    for (const dim of dims) out.u64(dim);
    out.u32(type);
    out.u64(offset);
  }
  const dataBegin = roundedUp(out.chunks.length);
  const bytes = new Uint8Array(dataBegin + Math.max(0, ...placed.map((t) => t.offset + t.bytes.length)));
  bytes.set(out.chunks);
  for (const { offset, bytes: data } of placed) bytes.set(data, dataBegin + offset);
  return bytes;
}
