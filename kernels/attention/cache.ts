/** @file How attention kernels read the cache: the WGSL of a load, and its element type. */
import { wgslFile } from '../../src/gpu/kernel.ts';
import type { Tensor } from '../../src/graph/graph.ts';
import cacheText from './cache.wgsl?raw';

const part = wgslFile('kernels/attention/cache.wgsl', cacheText);

/**
 * The part and flags of cache.wgsl, the storage type, and the vec4s in one load: 16 bytes where the head dims of keys
 * and values allow it.
 */
export function cacheReader(keys: Tensor, values: Tensor) {
  const isF16 = keys.dtype === 'f16';
  const isWide = isF16 && keys.shape[2]! % 8 === 0 && values.shape[2]! % 8 === 0;
  return {
    part,
    flags: { cache_f16: isF16, cache_wide: isWide },
    type: isF16 && !isWide ? 'vec2<u32>' : isF16 ? 'vec4<u32>' : 'vec4<f32>',
    vec4s: isWide ? 2 : 1,
  };
}
