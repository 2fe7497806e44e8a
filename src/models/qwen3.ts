/** @file Qwen3 and Qwen3-2507, dense: a pre-norm GQA decoder that also RMS-norms each q and k head. */
import type { Tensor } from '../graph/graph.ts';
import { attend } from '../graph/ops/attention.ts';
import { appendKv, kvCache } from '../graph/ops/cache.ts';
import { rope, splitHeads } from '../graph/ops/heads.ts';
import { linear } from '../graph/ops/linear.ts';
import { rmsNorm } from '../graph/ops/norm.ts';
import type { Weights } from '../graph/weight.ts';
import { type DecoderConfig, decoder, decoderConfig, gatedMlp, preNormLayer, projectQkv } from './layers.ts';
import { defineModel, type Recording } from './model.ts';

export const qwen3 = defineModel<DecoderConfig>({
  architectures: ['Qwen3ForCausalLM'],
  config: (json) => decoderConfig(json, { attentionBias: false }),
  forward: (w, cfg, into) =>
    decoder(w, cfg, into, (x, wl, layer) =>
      preNormLayer(
        x,
        wl,
        cfg,
        (h, wa) => qwen3Attention(h, wa, cfg, into, layer),
        (h, wm) => [gatedMlp(h, wm, cfg)],
      ),
    ),
});

/** Grouped-query attention that RMS-norms each q and k head before it rotates them. */
export function qwen3Attention(
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
  const headNorm = (name: string) => w.vector([`${name}.weight`], [headDim]);
  const window = cfg.layerWindows[layer];
  const cache = kvCache(x.graph, layer, { kvHeads, headDim, format: into.kvFormat, window });
  const qr = rope(rmsNorm(q, headNorm('q_norm'), cfg.rmsNormEps), into.angles);
  const kr = rope(rmsNorm(k, headNorm('k_norm'), cfg.rmsNormEps), into.angles);
  const bias = cfg.attentionBias ? w.vector(['o_proj.bias'], [cfg.hiddenSize]) : undefined;
  return linear(
    attend(qr, appendKv(cache, kr, v), headDim ** -0.5),
    w.matrix(['o_proj'], [cfg.hiddenSize], heads * headDim),
    bias,
  );
}
