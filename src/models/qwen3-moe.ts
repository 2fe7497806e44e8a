/** @file Qwen3 mixtures of experts (30B-A3B, 235B-A22B, 2507): Qwen3's attention, and experts in the layers that the config does not keep dense. */
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
import { qwen3Attention } from './qwen3.ts';

export const qwen3Moe = defineModel<DecoderConfig & ExpertsConfig & SparseLayers>({
  architectures: ['Qwen3MoeForCausalLM'],
  config: (json) =>
    decoderConfig(json, { attentionBias: false }, (read) => ({
      ...expertsConfig(read, 'num_experts'),
      ...sparseLayers(read),
    })),
  forward: (w, cfg, into) =>
    decoder(w, cfg, into, (x, wl, layer) =>
      preNormLayer(
        x,
        wl,
        cfg,
        (h, wa) => qwen3Attention(h, wa, cfg, into, layer),
        (h, wm) => (isSparse(cfg, layer) ? sparseMlp(h, wm, cfg) : [gatedMlp(h, wm, cfg)]),
      ),
    ),
});
