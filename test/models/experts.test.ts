/** What configs of mixtures of experts and of latent attention may say, and what they may not. */
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { MissingWeightError, UnsupportedConfigError, WeightMismatchError } from '../../src/errors.ts';
import { familyOf } from '../../src/models/index.ts';
import { recordPlan } from '../../src/runtime/program/plans.ts';
import { checkpointResolver, uniformResolver } from '../../src/weights/resolve.ts';

const read = (path: string): Record<string, unknown> =>
  JSON.parse(readFileSync(new URL(`../fixtures/${path}/config.json`, import.meta.url), 'utf8'));
const plan = (json: Record<string, unknown>, resolve = uniformResolver('bf16')) => {
  const family = familyOf(json);
  const options = { capacity: 64, maxSequences: 1, prefillRows: 8, kvFormat: 'f16' } as const;
  return recordPlan({ family, config: family.config(json), resolve }, options, 'rows1');
};

describe.each([
  ['goldens/qwen3-moe', { num_experts_per_tok: 17, num_experts: 32 }, /num_experts_per_tok is 17/],
  ['goldens/qwen3-moe', { num_experts_per_tok: 20 }, /num_experts_per_tok is 20 and num_experts 16/],
  ['goldens/qwen3-moe', { num_experts: 513 }, /num_experts 513/],
  ['goldens/qwen3-moe', { num_experts: 0 }, /num_experts is 0/],
  ['goldens/qwen3-moe', { moe_intermediate_size: 30 }, /moe_intermediate_size is 30/],
  ['goldens/qwen3-moe', { mlp_only_layers: ['one'] }, /mlp_only_layers is \["one"\]/],
  ['goldens/qwen3-moe', { decoder_sparse_step: 0 }, /decoder_sparse_step is 0/],
  ['goldens/qwen2-moe', { shared_expert_intermediate_size: undefined }, /shared_expert_intermediate_size/],
  ['goldens/qwen2-moe', { qkv_bias: false }, /qkv_bias is false/],
  ['goldens/deepseek-v3', { n_group: 3 }, /n_group is 3/],
  ['goldens/deepseek-v3', { topk_group: 5 }, /topk_group 5/],
  ['goldens/deepseek-v3', { num_experts_per_tok: 9 }, /num_experts_per_tok 9/],
  ['goldens/deepseek-v3', { n_group: 16, topk_group: 8 }, /n_group is 16/],
  ['goldens/deepseek-v3', { scoring_func: 'softmax' }, /scoring_func is "softmax"/],
  ['goldens/deepseek-v3', { topk_method: 'greedy' }, /topk_method is "greedy"/],
  ['goldens/deepseek-v3', { kv_lora_rank: 30 }, /kv_lora_rank is 30/],
  ['goldens/deepseek-v3', { v_head_dim: undefined }, /v_head_dim is undefined/],
  ['goldens/deepseek-v3', { first_k_dense_replace: -1 }, /first_k_dense_replace is -1/],
] as const)('%s with %j', (path, change, message) => {
  it('is refused with the key and what was wanted', () => {
    const json = { ...read(path), ...change };
    expect(() => familyOf(json).config(json)).toThrow(UnsupportedConfigError);
    expect(() => familyOf(json).config(json)).toThrow(message);
  });
});

describe('which layers have experts', () => {
  const routers = (json: Record<string, unknown>): string[] =>
    plan(json)
      .graph.ops.filter((op) => op.kind === 'route')
      .map((op) => op.scope);
  it('follows mlp_only_layers and decoder_sparse_step of Qwen', () => {
    const json = read('goldens/qwen3-moe');
    expect(routers(json)).toEqual(['model.layers.0.mlp', 'model.layers.2.mlp']);
    expect(routers({ ...json, mlp_only_layers: [], decoder_sparse_step: 2 })).toEqual(['model.layers.1.mlp']);
  });
  it('follows first_k_dense_replace of DeepSeek', () => {
    const json = read('goldens/deepseek-v3');
    expect(routers({ ...json, first_k_dense_replace: 2 })).toEqual(['model.layers.2.mlp']);
  });
});

describe('a checkpoint that lacks a piece is refused before a byte of weights is read', () => {
  const json = read('goldens/deepseek-v3');
  /** Every tensor that the graph asks for, as a checkpoint would have it, with one change. */
  const planWith = (change: (tensors: Map<string, number[]>) => void) => {
    const tensors = new Map<string, number[]>();
    const known = uniformResolver('bf16');
    plan(json, (weight) => {
      const { names, rowsOf, cols, isVector } = weight;
      names.forEach((name, i) => {
        tensors.set(name, isVector ? [rowsOf[i]!] : [rowsOf[i]!, cols]);
      });
      return known(weight);
    });
    change(tensors);
    const entries = new Map(
      [...tensors].map(([name, shape]) => [
        name,
        { name, shape, dtype: 'BF16' as const, begin: 0, end: 2, file: 'model.safetensors' },
      ]),
    );
    return () => plan(json, checkpointResolver({ config: json, tensors: entries }));
  };
  it('an expert', () => {
    const broken = planWith((t) => t.delete('model.layers.2.mlp.experts.7.up_proj.weight'));
    expect(broken).toThrow(MissingWeightError);
    expect(broken).toThrow(/model\.layers\.2\.mlp\.experts\.7\.up_proj\.weight/);
  });
  it('a selection bias of another length', () => {
    const broken = planWith((t) => t.set('model.layers.1.mlp.gate.e_score_correction_bias', [15]));
    expect(broken).toThrow(WeightMismatchError);
    expect(broken).toThrow(/model\.layers\.1\.mlp\.gate\.e_score_correction_bias has shape \[15\]/);
  });
  it('an expert of another width', () => {
    const broken = planWith((t) => t.set('model.layers.1.mlp.experts.3.down_proj.weight', [96, 20]));
    expect(broken).toThrow(/model\.layers\.1\.mlp\.experts\.3\.down_proj\.weight has shape \[96,20\]/);
  });
});
