/** @file Writes ONNX files: as much of the protobuf messages of onnx.proto as a graph with raw initializers needs. Knows no model. */

type Bytes = Uint8Array;

/** Element types of TensorProto. */
export const ONNX_TYPES = { f32: 1, u8: 2, i32: 6, i64: 7, f16: 10 } as const;
export type OnnxType = keyof typeof ONNX_TYPES;

export interface OnnxNode {
  op: string;
  /** '' for an optional input that is not there. */
  inputs: readonly string[];
  outputs: readonly string[];
  domain?: string;
  ints?: Readonly<Record<string, number>>;
  floats?: Readonly<Record<string, number>>;
}

export interface OnnxTensor {
  name: string;
  type: OnnxType;
  shape: readonly number[];
  data: ArrayBufferView;
}

export interface OnnxValue {
  name: string;
  type: OnnxType;
  /** A string is a size known at run time. */
  shape: readonly (number | string)[];
}

export interface OnnxGraph {
  nodes: readonly OnnxNode[];
  initializers: readonly OnnxTensor[];
  inputs: readonly OnnxValue[];
  outputs: readonly OnnxValue[];
  /** Versions of operator sets by domain. */
  opsets: Readonly<Record<string, number>>;
}

/** Protobuf's base-128 numbers; negative ones as 64 bits. */
function varint(value: number): Bytes {
  let rest = BigInt.asUintN(64, BigInt(value));
  const bytes: number[] = [];
  while (rest > 127n) {
    bytes.push(Number(rest & 127n) | 128);
    rest >>= 7n;
  }
  return Uint8Array.of(...bytes, Number(rest));
}

const VARINT = 0;
const LENGTH_DELIMITED = 2;
const FIXED32 = 5;

const number = (field: number, value: number): Bytes[] => [varint(field * 8 + VARINT), varint(value)];
const float = (field: number, value: number): Bytes[] => [
  varint(field * 8 + FIXED32),
  new Uint8Array(Float32Array.of(value).buffer),
];
function message(field: number, parts: readonly Bytes[]): Bytes[] {
  const length = parts.reduce((sum, part) => sum + part.length, 0);
  return [varint(field * 8 + LENGTH_DELIMITED), varint(length), ...parts];
}
const text = (field: number, value: string): Bytes[] => message(field, [new TextEncoder().encode(value)]);

const FLOAT_ATTRIBUTE = 1;
const INT_ATTRIBUTE = 2;

const node = ({ op, inputs, outputs, domain = '', ints = {}, floats = {} }: OnnxNode): Bytes[] => [
  ...inputs.flatMap((name) => text(1, name)),
  ...outputs.flatMap((name) => text(2, name)),
  ...text(3, outputs[0]!),
  ...text(4, op),
  ...Object.entries(ints).flatMap(([name, value]) =>
    message(5, [...text(1, name), ...number(3, value), ...number(20, INT_ATTRIBUTE)]),
  ),
  ...Object.entries(floats).flatMap(([name, value]) =>
    message(5, [...text(1, name), ...float(2, value), ...number(20, FLOAT_ATTRIBUTE)]),
  ),
  ...text(7, domain),
];

const tensor = ({ name, type, shape, data }: OnnxTensor): Bytes[] => [
  ...shape.flatMap((size) => number(1, size)),
  ...number(2, ONNX_TYPES[type]),
  ...text(8, name),
  ...message(9, [new Uint8Array(data.buffer, data.byteOffset, data.byteLength)]),
];

const value = ({ name, type, shape }: OnnxValue): Bytes[] => {
  const dims = shape.flatMap((size) =>
    message(1, typeof size === 'number' ? number(1, size) : text(2, size)),
  );
  return [...text(1, name), ...message(2, message(1, [...number(1, ONNX_TYPES[type]), ...message(2, dims)]))];
};

const IR_VERSION = 10;

/** A ModelProto. */
export function onnxFile({ nodes, initializers, inputs, outputs, opsets }: OnnxGraph): Bytes {
  const parts = [
    ...number(1, IR_VERSION),
    ...text(2, 'shaderloom bench'),
    ...message(7, [
      ...nodes.flatMap((n) => message(1, node(n))),
      ...text(2, 'graph'),
      ...initializers.flatMap((t) => message(5, tensor(t))),
      ...inputs.flatMap((v) => message(11, value(v))),
      ...outputs.flatMap((v) => message(12, value(v))),
    ]),
    ...Object.entries(opsets).flatMap(([domain, version]) =>
      message(8, [...text(1, domain), ...number(2, version)]),
    ),
  ];
  const file = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    file.set(part, at);
    at += part.length;
  }
  return file;
}
