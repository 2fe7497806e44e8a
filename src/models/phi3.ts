/**
 * @file Phi-3 and Phi-4-mini: Llama's layers, whose files hold q, k and v in one matrix and gate and up in another (read as their
 * parts: src/weights/held.ts), and rotate a part of each head.
 */
import type { ConfigReader } from './config.ts';
import { type DecoderConfig, decoderConfig } from './layers.ts';
import { denseForward } from './llama.ts';
import { windowInEveryLayer } from './mistral.ts';
import { defineModel } from './model.ts';

export const phi3 = defineModel<DecoderConfig>({
  architectures: ['Phi3ForCausalLM'],
  modelType: 'phi3',
  config: (json) => decoderConfig(json, { attentionBias: false }, own),
  forward: denseForward(),
});

function own(read: ConfigReader) {
  // The reference has no biases, whatever the config says.
  for (const key of ['attention_bias', 'mlp_bias', 'lm_head_bias']) read.expect(key, false);
  // Of longrope (src/graph/rope.ts).
  read.raw('original_max_position_embeddings');
  // Of code that the published models carry, which makes every layer see everything.
  read.expect('full_attn_mod', 1);
  read.expect('interpolate_factor', 1);
  return windowInEveryLayer(read);
}
