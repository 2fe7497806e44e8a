/** @file Qwen3 and Qwen3-2507, dense: a pre-norm GQA decoder that also RMS-norms each q and k head. */
import { attention } from './attention.ts';
import { type DecoderConfig, decoder, decoderConfig, gatedMlp, preNormLayer } from './layers.ts';
import { defineModel } from './model.ts';

export const qwen3 = defineModel<DecoderConfig>({
  architectures: ['Qwen3ForCausalLM'],
  modelType: 'qwen3',
  config: (json) => decoderConfig(json, { attentionBias: false, biasesOutput: true }),
  forward: (w, cfg, into) =>
    decoder(w, cfg, into, (x, wl, layer) =>
      preNormLayer(
        x,
        wl,
        cfg,
        (h, wa) => attention(h, wa, cfg, into, layer, { norms: true }),
        (h, wm) => [gatedMlp(h, wm, cfg)],
      ),
    ),
});
