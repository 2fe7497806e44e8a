/** @file Qwen2 and Qwen2.5, dense: a pre-norm GQA decoder with biases on q, k and v. */
import { type DecoderConfig, decoderConfig } from './layers.ts';
import { denseForward } from './llama.ts';
import { defineModel } from './model.ts';

export const qwen2 = defineModel<DecoderConfig>({
  architectures: ['Qwen2ForCausalLM'],
  modelType: 'qwen2',
  config: (json) => decoderConfig(json, { attentionBias: true }),
  forward: denseForward(),
});
