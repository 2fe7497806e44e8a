/** @file What the comparison with peers stands on: every contender gets the same weights, and files that are what they say. */
import { describe, expect, it } from 'vitest';
import { ggufQwen3 } from '../../bench/peers/gguf-qwen3.ts';
import {
  checkpointOf,
  dequantize,
  EMBEDDING,
  GROUP,
  int4Model,
  toF16,
} from '../../bench/peers/int4-model.ts';
import { onnxQwen3 } from '../../bench/peers/onnx-qwen3.ts';
import { SHAPES } from '../../bench/speed/shapes.ts';

const config = { ...SHAPES.deep, num_hidden_layers: 1, intermediate_size: 64, vocab_size: 64 };
const model = int4Model(config);
const embedding = dequantize(model.matrices.get(EMBEDDING)!);

function f16Value(bits: number): number {
  const [sign, exponent, fraction] = [bits >> 15 ? -1 : 1, (bits >> 10) & 31, bits & 1023];
  return exponent === 0 ? sign * fraction * 2 ** -24 : sign * (1024 + fraction) * 2 ** (exponent - 25);
}

describe('weights of the peers', () => {
  it('are exact in bfloat16 and in float16', () => {
    for (const matrix of model.matrices.values()) {
      const values = dequantize(matrix);
      expect(new Uint32Array(values.buffer).every((bits) => (bits & 0xffff) === 0)).toBe(true);
      expect(toF16(values).every((bits, i) => f16Value(bits) === values[i])).toBe(true);
    }
  });

  it('have both ends of the range in every group, so that quantising them anew changes nothing', () => {
    for (const { codes } of model.matrices.values()) {
      for (let at = 0; at < codes.length; at += GROUP / 2) {
        const group = [...codes.subarray(at, at + GROUP / 2)].flatMap((byte) => [byte & 15, byte >> 4]);
        expect([Math.min(...group), Math.max(...group)]).toEqual([0, 15]);
      }
    }
  });

  it('are in the checkpoint, the same from wherever it is read', async () => {
    const source = checkpointOf(config, model);
    const start = (await source.readStart('model.safetensors', 2 ** 20))!;
    const headerLength = Number(new DataView(start.bytes.buffer).getBigUint64(0, true));
    const header = JSON.parse(new TextDecoder().decode(start.bytes.subarray(8, 8 + headerLength)));
    const [begin, end] = header[EMBEDDING].data_offsets.map((at: number) => at + 8 + headerLength);
    const skipped = 2 * 100;
    const bytes: number[] = [];
    for await (const chunk of source.stream('model.safetensors', [{ begin: begin + skipped, end }]))
      for (const byte of chunk) bytes.push(byte);
    const bf16 = new Uint16Array(Uint8Array.from(bytes).buffer);
    expect(Float32Array.from(new Float32Array(Uint32Array.from(bf16, (b) => b << 16).buffer))).toEqual(
      embedding.subarray(skipped / 2),
    );
  });

  it('are in the GGUF file, in blocks of Q4_0 behind an aligned header', async () => {
    const file = new Uint8Array(await new Blob(ggufQwen3(model, 64) as BlobPart[]).arrayBuffer());
    expect(new TextDecoder().decode(file.subarray(0, 4))).toBe('GGUF');
    // The embedding is the first tensor, and all else lies behind it in multiples of 32 bytes.
    const blockBytes = 2 + GROUP / 2;
    const vectorBytes = [...model.vectors.values()].map((v) => v.byteLength);
    const matrixBytes = [...model.matrices.values()].map((m) => m.scales.length * blockBytes);
    const padded = [...vectorBytes, ...matrixBytes].map((n) => Math.ceil(n / 32) * 32);
    const dataStart = file.length - padded.reduce((a, b) => a + b, 0);
    expect(dataStart % 32).toBe(0);
    const values = new Float32Array(embedding.length);
    for (let b = 0; b < values.length / GROUP; b++) {
      const block = file.subarray(dataStart + b * blockBytes, dataStart + (b + 1) * blockBytes);
      const scale = f16Value(block[0]! | (block[1]! << 8));
      for (let j = 0; j < GROUP / 2; j++) {
        values[b * GROUP + j] = ((block[2 + j]! & 15) - 8) * scale;
        values[b * GROUP + j + GROUP / 2] = ((block[2 + j]! >> 4) - 8) * scale;
      }
    }
    expect(values.every((value, i) => value === embedding[i])).toBe(true);
  });

  it('make an ONNX file whose fields end where it ends', () => {
    const file = onnxQwen3(model, 'f16', 64);
    const fields: number[] = [];
    let at = 0;
    const varint = (): number => {
      let value = 0;
      for (let shift = 0; ; shift += 7) {
        const byte = file[at++]!;
        value += (byte & 127) * 2 ** shift;
        if (byte < 128) return value;
      }
    };
    while (at < file.length) {
      const tag = varint();
      fields.push(tag >> 3);
      const value = varint();
      if ((tag & 7) === 2) at += value;
    }
    expect(at).toBe(file.length);
    // Version, producer, graph, two sets of operators.
    expect(fields).toEqual([1, 2, 7, 8, 8]);
  });
});
