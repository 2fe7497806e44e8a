/** @file Qwen2 and Qwen2.5, dense: a pre-norm GQA decoder with biases on q, k and v. */
import type { Tensor } from '../graph/graph.ts';
import { attend } from '../graph/ops/attention.ts';
import { appendKv, kvCache } from '../graph/ops/cache.ts';
import { mixHeads, rope, splitHeads } from '../graph/ops/heads.ts';
import { linear } from '../graph/ops/linear.ts';
import type { Weights } from '../graph/weight.ts';
import { type DecoderConfig, decoder, decoderConfig, gatedMlp, preNormLayer, projectQkv } from './layers.ts';
import { defineModel, type Recording } from './model.ts';

export const qwen2 = defineModel<DecoderConfig>({
  architectures: ['Qwen2ForCausalLM'],
  config: (json) => decoderConfig(json, { attentionBias: true }),
  forward: (w, cfg, into) =>
    decoder(w, cfg, into, (x, wl, layer) =>
      preNormLayer(
        x,
        wl,
        cfg,
        (h, wa) => qwen2Attention(h, wa, cfg, into, layer),
        (h, wm) => [gatedMlp(h, wm, cfg)],
      ),
    ),
});

/** Grouped-query attention with biases on q, k and v. */
export function qwen2Attention(
  x: Tensor,
  w: Weights,
  cfg: DecoderConfig,
  into: Recording,
  layer: number,
): Tensor {
  const { numAttentionHeads: heads, numKeyValueHeads: kvHeads, headDim } = cfg;
  const [q, k, v] = splitHeads(projectQkv(x, w, cfg), [heads, kvHeads, kvHeads], headDim) as [
    Tensor,
    Tensor,
    Tensor,
  ];
  const window = cfg.layerWindows[layer];
  const cache = kvCache(x.graph, layer, { kvHeads, headDim, format: into.kvFormat, window });
  // A bias of k makes a few values of a head much larger than the others, which share their scale.
  const mix = into.kvFormat === 'int8' && cfg.attentionBias ? mixHeads : (heads: Tensor) => heads;
  const qr = mix(rope(q, into.angles));
  const kr = mix(rope(k, into.angles));
  const attended = attend(qr, appendKv(cache, kr, v), headDim ** -0.5);
  return linear(attended, w.matrix(['o_proj'], [cfg.hiddenSize], heads * headDim));
}
