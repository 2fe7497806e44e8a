/** @file Writes safetensors files and indexes for tests, honest ones and, on request, lying ones. */
import { DTYPE_BYTES, type SafetensorsDtype } from '../../src/weights/safetensors.ts';

export interface TensorToWrite {
  name: string;
  dtype: SafetensorsDtype;
  shape: number[];
  /** The elements' bytes; zeros when not given. */
  data?: ArrayBufferView;
}

export type Header = Record<string, { dtype: unknown; shape: unknown; data_offsets: unknown } | unknown>;

export interface Lies {
  /** Changes the header before it is written; may return anything that JSON can hold. */
  header?: (header: Header) => unknown;
  /** Written in place of the header's JSON. */
  headerText?: string;
  /** Written in place of the header's length. */
  headerLength?: number | bigint;
}

/** A safetensors file with the tensors in the given order; `lies` make it a bad one. */
export function writeSafetensors(tensors: TensorToWrite[], lies: Lies = {}): Uint8Array<ArrayBuffer> {
  const header: Header = { __metadata__: { format: 'pt' } };
  let end = 0;
  for (const { name, dtype, shape } of tensors) {
    const begin = end;
    end += byteLength(dtype, shape);
    header[name] = { dtype, shape, data_offsets: [begin, end] };
  }
  const json = new TextEncoder().encode(lies.headerText ?? JSON.stringify(lies.header?.(header) ?? header));
  const file = new Uint8Array(8 + json.length + end);
  new DataView(file.buffer).setBigUint64(0, BigInt(lies.headerLength ?? json.length), true);
  file.set(json, 8);
  let offset = 8 + json.length;
  for (const { name, dtype, shape, data } of tensors) {
    const length = byteLength(dtype, shape);
    if (data && data.byteLength !== length) {
      throw new Error(`${name}: ${data.byteLength} bytes given for ${length}`);
    }
    if (data) file.set(new Uint8Array(data.buffer, data.byteOffset, length), offset);
    offset += length;
  }
  return file;
}

/** A `model.safetensors.index.json` for shards made with `writeSafetensors`. */
export function writeIndex(shards: Record<string, TensorToWrite[]>): Uint8Array<ArrayBuffer> {
  const weightMap: Record<string, string> = {};
  for (const [file, tensors] of Object.entries(shards)) {
    for (const { name } of tensors) weightMap[name] = file;
  }
  return jsonBytes({ metadata: { total_size: 0 }, weight_map: weightMap });
}

export function jsonBytes(value: unknown): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(JSON.stringify(value));
}

function byteLength(dtype: SafetensorsDtype, shape: number[]): number {
  return shape.reduce((product, extent) => product * extent, DTYPE_BYTES[dtype]);
}

/** A shape of whole bytes: elements of less than a byte come in fours. */
export const wholeBytes = (dtype: SafetensorsDtype, shape: number[]): number[] =>
  Number.isInteger(DTYPE_BYTES[dtype]) ? shape : [...shape, 4];
