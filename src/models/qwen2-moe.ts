/** @file Qwen2 mixtures of experts (Qwen1.5-MoE-A2.7B, Qwen2-57B-A14B): Qwen2's attention, routed experts and a gated shared one. */
import { attention } from './attention.ts';
import {
  type ExpertsConfig,
  expectVec4s,
  expertsConfig,
  isSparse,
  type SparseLayers,
  sparseLayers,
  sparseMlpWithSharedExpert,
} from './experts.ts';
import { type DecoderConfig, decoder, decoderConfig, gatedMlp, preNormLayer } from './layers.ts';
import { defineModel } from './model.ts';

interface Qwen2MoeConfig extends DecoderConfig, ExpertsConfig, SparseLayers {
  readonly sharedExpertIntermediateSize: number;
}

export const qwen2Moe = defineModel<Qwen2MoeConfig>({
  architectures: ['Qwen2MoeForCausalLM'],
  modelType: 'qwen2_moe',
  config: (json) =>
    decoderConfig(json, { attentionBias: true }, (read) => {
      // Newer configs say what older ones take for granted.
      read.expect('qkv_bias', true);
      const sharedExpertIntermediateSize = read.count('shared_expert_intermediate_size');
      expectVec4s('shared_expert_intermediate_size', sharedExpertIntermediateSize);
      return {
        ...expertsConfig(read, 'num_experts'),
        ...sparseLayers(read),
        sharedExpertIntermediateSize,
      };
    }),
  forward: (w, cfg, into) =>
    decoder(w, cfg, into, (x, wl, layer) =>
      preNormLayer(
        x,
        wl,
        cfg,
        (h, wa) => attention(h, wa, cfg, into, layer),
        (h, wm) => (isSparse(cfg, layer) ? sparseMlpWithSharedExpert(h, wm, cfg) : [gatedMlp(h, wm, cfg)]),
      ),
    ),
});
