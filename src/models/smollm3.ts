/** @file SmolLM3: Llama's layers, of which some know no positions. */
import { UnsupportedConfigError } from '../errors.ts';
import { type ConfigReader, numLayersOf } from './config.ts';
import { type DecoderConfig, decoderConfig } from './layers.ts';
import { denseForward } from './llama.ts';
import { defineModel } from './model.ts';

interface SmolLm3Config extends DecoderConfig {
  /** Which layers rotate q and k. */
  readonly rotates: readonly boolean[];
}

export const smollm3 = defineModel<SmolLm3Config>({
  architectures: ['SmolLM3ForCausalLM'],
  modelType: 'smollm3',
  config: (json) =>
    decoderConfig(
      json,
      { attentionBias: false, biasesOutput: true, tieWordEmbeddings: true },
      rotatingLayers,
    ),
  forward: denseForward(({ rotates }, layer) => ({ rotates: rotates[layer]! })),
});

/** `no_rope_layers` has 1 for a layer that rotates; without it every `no_rope_layer_interval`-th does not. */
function rotatingLayers(read: ConfigReader): Pick<SmolLm3Config, 'rotates'> {
  const numLayers = numLayersOf(read);
  const interval = read.count('no_rope_layer_interval', 4);
  if (read.raw('no_rope_layers') === undefined) {
    return { rotates: Array.from({ length: numLayers }, (_, layer) => (layer + 1) % interval !== 0) };
  }
  const listed = read.list('no_rope_layers');
  if (listed.length !== numLayers || listed.some((n) => n > 1)) {
    throw new UnsupportedConfigError(
      `config.json: no_rope_layers is ${JSON.stringify(listed)}, wanted 0 or 1 for each of ${numLayers} layers`,
    );
  }
  return { rotates: listed.map((n) => n === 1) };
}
