/** @file How kernels write the cache: in pairs of values, as vec2<f32> or two f16 in a u32. */
import { wgslFile } from '../../src/gpu/kernel.ts';
import type { Tensor } from '../../src/graph/graph.ts';
import toCacheText from './to-cache.wgsl?raw';

const toCache = wgslFile('kernels/heads/to-cache.wgsl', toCacheText);

/** The part, flags and aliases of to-cache.wgsl, and the element type of both caches. */
export function cacheWriter(cache: Tensor) {
  const isF16 = cache.dtype === 'f16';
  const type = isF16 ? 'u32' : 'vec2<f32>';
  return { part: toCache, flags: { cache_f16: isF16 }, aliases: { cache_pair: type }, type };
}
