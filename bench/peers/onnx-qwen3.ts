/**
 * @file The graph of a Qwen3 as published ONNX files for onnxruntime-web have it: MatMulNBits, GroupQueryAttention with rotary
 * embedding, fused norms with residuals. Only the last row's logits are computed, as recent exports do.
 */
import { dequantize, EMBEDDING, GROUP, type Int4Model, layerName, NORM, toF16 } from './int4-model.ts';
import { type OnnxNode, type OnnxTensor, type OnnxValue, onnxFile } from './onnx.ts';

export type OnnxFloat = 'f16' | 'f32';

const CONTRIB = 'com.microsoft';

/**
 * Inputs: input_ids i64 [1, rows], seqlens_k i32 [1, 1] (tokens in the cache and rows, less 1), total_sequence_length i32 [1],
 * past_key_values.L.key and .value [1, kvHeads, past, headDim]. Outputs: logits [1, 1, vocab], present.L.key and .value.
 * @param contextLength rows of the rotary tables
 */
export function onnxQwen3(
  model: Int4Model,
  float: OnnxFloat,
  contextLength: number,
  accuracyLevel = 4,
): Uint8Array {
  const { sizes, matrices, vectors } = model;
  const { layers, heads, kvHeads, headDim, vocab, hidden } = sizes;
  const nodes: OnnxNode[] = [];
  const initializers: OnnxTensor[] = [];
  const floats = (values: Float32Array): ArrayBufferView => (float === 'f16' ? toF16(values) : values);
  const add = (op: string, inputs: string[], name: string, rest: Partial<OnnxNode> = {}): string => {
    nodes.push({ op, inputs, outputs: [name], ...rest });
    return name;
  };
  const constant = (name: string, shape: number[], values: Float32Array): string => {
    initializers.push({ name, type: float, shape, data: floats(values) });
    return name;
  };
  const integers = (name: string, values: number[]): string => {
    const data = BigInt64Array.from(values, BigInt);
    initializers.push({ name, type: 'i64', shape: [values.length], data });
    return name;
  };
  const vector = (name: string): string => constant(name, [vectors.get(name)!.length], vectors.get(name)!);

  function matmul(x: string, weight: string, out: string): string {
    const { rows, cols, codes, scales } = matrices.get(weight)!;
    const blocks = cols / GROUP;
    const data = `${weight}_Q4`;
    initializers.push({ name: data, type: 'u8', shape: [rows, blocks, GROUP / 2], data: codes });
    const scale = constant(`${weight}_scales`, [rows * blocks], scales);
    const ints = { K: cols, N: rows, bits: 4, block_size: GROUP, accuracy_level: accuracyLevel };
    return add('MatMulNBits', [x, data, scale], out, { domain: CONTRIB, ints });
  }
  const norm = (x: string, weight: string, out: string): string =>
    add('SimplifiedLayerNormalization', [x, vector(weight)], out, {
      ints: { axis: -1, stash_type: 1 },
      floats: { epsilon: sizes.epsilon },
    });
  /** @returns the norm of the sum, and the sum */
  function skipNorm(x: string, skip: string, weight: string, out: string): [string, string] {
    nodes.push({
      op: 'SkipSimplifiedLayerNormalization',
      inputs: [x, skip, vector(weight)],
      outputs: [out, '', '', `${out}_sum`],
      domain: CONTRIB,
      floats: { epsilon: sizes.epsilon },
    });
    return [out, `${out}_sum`];
  }
  const split = integers('shape_of_heads', [0, -1, headDim]);
  const join = (count: number): string => `shape_of_${count}`;
  for (const count of new Set([heads, kvHeads])) integers(join(count), [0, -1, count * headDim]);
  const headNorm = (x: string, weight: string, count: number): string =>
    add(
      'Reshape',
      [norm(add('Reshape', [x, split], `${x}_heads`), weight, `${x}_norm`), join(count)],
      `${x}_out`,
    );

  const [cos, sin] = ropeTables(contextLength, headDim, sizes.ropeTheta);
  // Not exact in float16, unlike the weights.
  const table = (name: string, values: Float32Array): string =>
    constant(name, [contextLength, headDim / 2], float === 'f16' ? roundToF16(values) : values);
  const tables = [table('cos_cache', cos), table('sin_cache', sin)];

  constant('embedding', [vocab, hidden], dequantize(matrices.get(EMBEDDING)!));
  let sum = add('Gather', ['embedding', 'input_ids'], 'embedded', { ints: { axis: 0 } });
  let x = norm(sum, layerName(0, 'input_layernorm'), 'norm_0');
  for (let l = 0; l < layers; l++) {
    const name = (rest: string): string => layerName(l, rest);
    const at = (rest: string): string => `layer_${l}_${rest}`;
    const q = headNorm(matmul(x, name('self_attn.q_proj'), at('q')), name('self_attn.q_norm'), heads);
    const k = headNorm(matmul(x, name('self_attn.k_proj'), at('k')), name('self_attn.k_norm'), kvHeads);
    const v = matmul(x, name('self_attn.v_proj'), at('v'));
    nodes.push({
      op: 'GroupQueryAttention',
      inputs: [
        q,
        k,
        v,
        `past_key_values.${l}.key`,
        `past_key_values.${l}.value`,
        'seqlens_k',
        'total_sequence_length',
        ...tables,
      ],
      outputs: [at('attention'), `present.${l}.key`, `present.${l}.value`],
      domain: CONTRIB,
      ints: {
        num_heads: heads,
        kv_num_heads: kvHeads,
        do_rotary: 1,
        rotary_interleaved: 0,
        local_window_size: -1,
      },
      floats: { scale: headDim ** -0.5, softcap: 0 },
    });
    const o = matmul(at('attention'), name('self_attn.o_proj'), at('o'));
    [x, sum] = skipNorm(sum, o, name('post_attention_layernorm'), at('norm'));
    const gate = matmul(x, name('mlp.gate_proj'), at('gate'));
    const up = matmul(x, name('mlp.up_proj'), at('up'));
    const silu = add('Mul', [gate, add('Sigmoid', [gate], at('sigmoid'))], at('silu'));
    const down = matmul(add('Mul', [silu, up], at('product')), name('mlp.down_proj'), at('down'));
    [x, sum] = skipNorm(
      sum,
      down,
      l + 1 < layers ? layerName(l + 1, 'input_layernorm') : NORM,
      `norm_${l + 1}`,
    );
  }
  const bounds = [integers('last', [-1]), integers('end', [2 ** 31 - 1]), integers('row_axis', [1])];
  matmul(add('Slice', [x, ...bounds], 'last_row'), EMBEDDING, 'logits');

  const cache = (kind: string, length: string): OnnxValue[] =>
    Array.from({ length: layers }, (_, l) =>
      ['key', 'value'].map(
        (part): OnnxValue => ({
          name: `${kind}.${l}.${part}`,
          type: float,
          shape: [1, kvHeads, length, headDim],
        }),
      ),
    ).flat();
  return onnxFile({
    nodes,
    initializers,
    inputs: [
      { name: 'input_ids', type: 'i64', shape: [1, 'rows'] },
      { name: 'seqlens_k', type: 'i32', shape: [1, 1] },
      { name: 'total_sequence_length', type: 'i32', shape: [1] },
      ...cache('past_key_values', 'past'),
    ],
    outputs: [{ name: 'logits', type: float, shape: [1, 1, vocab] }, ...cache('present', 'total')],
    opsets: { '': 21, [CONTRIB]: 1 },
  });
}

/** cos and sin of position * theta^(-2i/d), [positions, headDim / 2]. */
function ropeTables(positions: number, headDim: number, theta: number): [Float32Array, Float32Array] {
  const half = headDim / 2;
  const angle = (i: number): number => Math.floor(i / half) * theta ** (-(i % half) / half);
  const table = (f: (x: number) => number): Float32Array =>
    Float32Array.from({ length: positions * half }, (_, i) => f(angle(i)));
  return [table(Math.cos), table(Math.sin)];
}

/** Rounds to the 11 significant bits of float16; what it would hold as a subnormal number becomes zero. */
function roundToF16(values: Float32Array): Float32Array {
  return values.map((v) => {
    if (Math.abs(v) < 2 ** -14) return 0;
    const unit = 2 ** (Math.floor(Math.log2(Math.abs(v))) - 10);
    return Math.round(v / unit) * unit;
  });
}
