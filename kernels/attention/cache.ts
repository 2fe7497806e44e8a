/** @file How attention kernels read the cache: the WGSL of a load, its element type, and where heads lie. */
import { type Const, wgslFile } from '../../src/gpu/kernel.ts';
import type { Tensor } from '../../src/graph/graph.ts';
import cacheText from './cache.wgsl?raw';

const part = wgslFile('kernels/attention/cache.wgsl', cacheText);

const isMultipleOf8 = ({ shape, rowStride, offset }: Tensor): boolean =>
  shape[2]! % 8 === 0 && rowStride % 8 === 0 && offset % 8 === 0;

/**
 * The part, flags and constants of cache.wgsl, the storage type, and the vec4s in one load: 16 bytes where the head dims
 * and strides of keys and values allow it.
 */
export function cacheReader(keys: Tensor, values: Tensor) {
  const isF16 = keys.dtype === 'f16';
  const isWide = isF16 && isMultipleOf8(keys) && isMultipleOf8(values);
  const vec4s = isWide ? 2 : 1;
  const units = (elements: number): number => elements / 4 / vec4s;
  const consts: Record<string, Const> = {
    k_units: units(keys.shape[2]!),
    v_units: units(values.shape[2]!),
    keys_offset: units(keys.offset),
    keys_stride: units(keys.rowStride),
    values_offset: units(values.offset),
    values_stride: units(values.rowStride),
  };
  return {
    part,
    flags: { cache_f16: isF16, cache_wide: isWide },
    consts,
    type: isF16 && !isWide ? 'vec2<u32>' : isF16 ? 'vec4<u32>' : 'vec4<f32>',
    vec4s,
  };
}
