/** @file Llama 2 and 3, and what is built like them (SmolLM2, DeepSeek-R1-Distill-Llama, Yi, TinyLlama): a pre-norm GQA decoder. */
import { attention, type Variation } from './attention.ts';
import { type DecoderConfig, decoder, decoderConfig, gatedMlp, preNormLayer } from './layers.ts';
import { defineModel, type ModelFamily } from './model.ts';

/** Dense layers of grouped-query attention. `variationOf`: what a family's attention does differently in a layer. */
export const denseForward =
  <Config extends DecoderConfig>(
    variationOf: (config: Config, layer: number) => Variation = () => ({}),
  ): ModelFamily<Config>['forward'] =>
  (w, cfg, into) =>
    decoder(w, cfg, into, (x, wl, layer) =>
      preNormLayer(
        x,
        wl,
        cfg,
        (h, wa) => attention(h, wa, cfg, into, layer, variationOf(cfg, layer)),
        (h, wm) => [gatedMlp(h, wm, cfg)],
      ),
    );

export const llama = defineModel<DecoderConfig>({
  architectures: ['LlamaForCausalLM'],
  modelType: 'llama',
  config: (json) => decoderConfig(json, { attentionBias: false, biasesOutput: true }),
  forward: denseForward(),
});
