/** @file Qwen3 mixtures of experts (30B-A3B, 235B-A22B, 2507): Qwen3's attention, and experts in the layers that the config does not keep dense. */
import { attention } from './attention.ts';
import {
  type ExpertsConfig,
  expertsConfig,
  isSparse,
  type SparseLayers,
  sparseLayers,
  sparseMlp,
} from './experts.ts';
import { type DecoderConfig, decoder, decoderConfig, gatedMlp, preNormLayer } from './layers.ts';
import { defineModel } from './model.ts';

export const qwen3Moe = defineModel<DecoderConfig & ExpertsConfig & SparseLayers>({
  architectures: ['Qwen3MoeForCausalLM'],
  modelType: 'qwen3_moe',
  config: (json) =>
    decoderConfig(json, { attentionBias: false, biasesOutput: true }, (read) => {
      // Qwen3-Coder's configs say what others take for granted.
      read.expect('qkv_bias', false);
      read.expect('use_qk_norm', true);
      read.expect('shared_expert_intermediate_size', 0);
      return { ...expertsConfig(read, 'num_experts'), ...sparseLayers(read) };
    }),
  forward: (w, cfg, into) =>
    decoder(w, cfg, into, (x, wl, layer) =>
      preNormLayer(
        x,
        wl,
        cfg,
        (h, wa) => attention(h, wa, cfg, into, layer, { norms: true }),
        (h, wm) => (isSparse(cfg, layer) ? sparseMlp(h, wm, cfg) : [gatedMlp(h, wm, cfg)]),
      ),
    ),
});
