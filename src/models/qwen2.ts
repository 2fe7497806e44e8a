/** @file Qwen2 and Qwen2.5, dense: a pre-norm GQA decoder with biases on q, k and v. */
import type { Tensor } from '../graph/graph.ts';
import { attend } from '../graph/ops/attention.ts';
import { appendKv, kvCache } from '../graph/ops/cache.ts';
import { rope, splitHeads } from '../graph/ops/heads.ts';
import { linear } from '../graph/ops/linear.ts';
import type { Weights } from '../graph/weight.ts';
import { type DecoderConfig, decoder, decoderConfig, preNormLayer, projectQkv, swigluMlp } from './layers.ts';
import { defineModel, type Run } from './model.ts';

export const qwen2 = defineModel<DecoderConfig>({
  architectures: ['Qwen2ForCausalLM'],
  config: (json) => decoderConfig(json, { attentionBias: true }),
  forward: (tokens, w, cfg, run) =>
    decoder(tokens, w, cfg, run, (x, wl, layer) =>
      preNormLayer(
        x,
        wl,
        cfg,
        (h, wa) => qwen2Attention(h, wa, cfg, run, layer),
        (h, wm) => [swigluMlp(h, wm, cfg)],
      ),
    ),
});

/** Grouped-query attention with biases on q, k and v. */
export function qwen2Attention(x: Tensor, w: Weights, cfg: DecoderConfig, run: Run, layer: number): Tensor {
  const { numAttentionHeads: heads, numKeyValueHeads: kvHeads, headDim } = cfg;
  const [q, k, v] = splitHeads(projectQkv(x, w, cfg), [heads, kvHeads, kvHeads], headDim) as [
    Tensor,
    Tensor,
    Tensor,
  ];
  const cache = kvCache(x.graph, layer, run.capacity, kvHeads, headDim, run.kvDtype);
  const qr = rope(q, run.angles);
  const attended = attend(qr, appendKv(cache, rope(k, run.angles), v), headDim ** -0.5);
  return linear(attended, w.matrix(['o_proj'], [cfg.hiddenSize], heads * headDim));
}
