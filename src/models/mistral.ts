/** @file Mistral: Llama's layers, each of which sees a window where the config has one. */
import { type ConfigReader, numLayersOf } from './config.ts';
import { type DecoderConfig, decoderConfig } from './layers.ts';
import { denseForward } from './llama.ts';
import { defineModel } from './model.ts';

export const mistral = defineModel<DecoderConfig>({
  architectures: ['MistralForCausalLM'],
  modelType: 'mistral',
  config: (json) => decoderConfig(json, { attentionBias: false }, windowInEveryLayer),
  forward: denseForward(),
});

/** `sliding_window` alone is one of every layer. */
export function windowInEveryLayer(read: ConfigReader): Partial<Pick<DecoderConfig, 'layerWindows'>> {
  if (read.raw('sliding_window') === undefined || read.raw('layer_types') !== undefined) return {};
  return { layerWindows: Array(numLayersOf(read)).fill(read.count('sliding_window')) };
}
