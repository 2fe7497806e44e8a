/** @file Qwen3 and Qwen3-2507, dense: a pre-norm GQA decoder that also RMS-norms each q and k head. */
import { type DecoderConfig, decoderConfig } from './layers.ts';
import { denseForward } from './llama.ts';
import { defineModel } from './model.ts';

export const qwen3 = defineModel<DecoderConfig>({
  architectures: ['Qwen3ForCausalLM'],
  modelType: 'qwen3',
  config: (json) => decoderConfig(json, { attentionBias: false, biasesOutput: true }),
  forward: denseForward(() => ({ norms: true })),
});
