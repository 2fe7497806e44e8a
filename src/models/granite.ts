/** @file Granite, dense: Llama's layers, with multipliers for embeddings, scores, what layers add, and logits. */
import type { ConfigReader } from './config.ts';
import { type DecoderConfig, decoderConfig } from './layers.ts';
import { denseForward } from './llama.ts';
import { defineModel } from './model.ts';

export const granite = defineModel<DecoderConfig>({
  architectures: ['GraniteForCausalLM'],
  modelType: 'granite',
  config: (json) => decoderConfig(json, { attentionBias: false, biasesOutput: true }, multipliers),
  forward: denseForward(),
});

function multipliers(read: ConfigReader) {
  return {
    embeddingMultiplier: read.number('embedding_multiplier', 1),
    attentionScale: read.number('attention_multiplier', 1),
    residualMultiplier: read.number('residual_multiplier', 1),
    logitsMultiplier: 1 / read.positive('logits_scaling', 1),
  };
}
