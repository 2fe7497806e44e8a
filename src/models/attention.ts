/** @file Grouped-query attention as the dense families share it: projections, heads, cache, output. */
import type { Tensor } from '../graph/graph.ts';
import { attend } from '../graph/ops/attention.ts';
import { appendKv, kvCache } from '../graph/ops/cache.ts';
import { mixHeads, rope, splitHeads } from '../graph/ops/heads.ts';
import { linear, stackedLinear } from '../graph/ops/linear.ts';
import { rmsNorm } from '../graph/ops/norm.ts';
import type { Weights } from '../graph/weight.ts';
import type { DecoderConfig } from './layers.ts';
import type { Recording } from './model.ts';

/** What families do differently. */
export interface Variation {
  /** Each head of q and k is RMS-normed before it is rotated, by `q_norm` and `k_norm`. Default: false. */
  norms?: boolean;
  /** Default: true. */
  rotates?: boolean;
}

/** Attention of `layer` over what its sequences have cached; x [rows, hidden_size] -> the same. */
export function attention(
  x: Tensor,
  w: Weights,
  cfg: DecoderConfig,
  into: Recording,
  layer: number,
  { norms = false, rotates = true }: Variation = {},
): Tensor {
  const { numAttentionHeads, numKeyValueHeads: kvHeads, headDim, hiddenSize } = cfg;
  const counts = [numAttentionHeads, kvHeads, kvHeads];
  const [q, k, v] = splitHeads(projectQkv(x, w, cfg, counts), counts, headDim) as [Tensor, Tensor, Tensor];
  // A bias of k makes a few values of a head much larger than the others, which share their scale.
  const mixes = into.kvFormat === 'int8' && cfg.attentionBias && !norms;
  const prepare = (heads: Tensor, name: string): Tensor => {
    const normed = norms ? rmsNorm(heads, w.vector([`${name}.weight`], [headDim]), cfg.rmsNormEps) : heads;
    const rotated = rotates ? rope(normed, into.angles, cfg.pairing) : normed;
    return mixes ? mixHeads(rotated) : rotated;
  };
  const [qr, kr] = [prepare(q, 'q_norm'), prepare(k, 'k_norm')];
  const window = cfg.layerWindows[layer];
  const cache = kvCache(x.graph, layer, { kvHeads, headDim, format: into.kvFormat, window });
  const attended = attend(qr, appendKv(cache, kr, v), cfg.attentionScale);
  const bias = cfg.outputBias ? w.vector(['o_proj.bias'], [hiddenSize]) : undefined;
  const o = w.matrix(['o_proj'], [hiddenSize], numAttentionHeads * headDim);
  return linear(attended, o, bias, cfg.residualMultiplier);
}

/** q, k and v of so many heads in one projection. */
function projectQkv(x: Tensor, w: Weights, cfg: DecoderConfig, counts: readonly number[]): Tensor {
  const names = ['q_proj', 'k_proj', 'v_proj'];
  const sizes = counts.map((heads) => heads * cfg.headDim);
  return stackedLinear(x, w, names, sizes, cfg.attentionBias);
}
