/** @file How kernels find, read and write the cache: WGSL parts, and the constants that they need of a layer's tensors. */
import { type Const, wgslFile } from '../../src/gpu/kernel.ts';
import { BLOCK_LENGTH, blocksOf, slotWords, tablesBegin } from '../../src/graph/batch.ts';
import { baseOf, type Tensor } from '../../src/graph/graph.ts';
import { batchRows } from '../lib/rows.ts';
import readText from './cache-read.wgsl?raw';
import writeText from './cache-write.wgsl?raw';
import placeText from './place.wgsl?raw';

const readFile = wgslFile('kernels/cache/cache-read.wgsl', readText);
const writeFile = wgslFile('kernels/cache/cache-write.wgsl', writeText);
const placeFile = wgslFile('kernels/cache/place.wgsl', placeText);

const isMultipleOf = (n: number, { shape, rowStride, offset }: Tensor): boolean =>
  shape[2]! % n === 0 && rowStride % n === 0 && offset % n === 0;

/** Values of one load of the cache: 16 bytes where the head dims and strides of keys and values allow it. */
function valuesOfUnit(keys: Tensor, values: Tensor): number {
  if (keys.dtype === 'int8') return 16;
  const isWide = keys.dtype === 'f16' && isMultipleOf(8, keys) && isMultipleOf(8, values);
  return isWide ? 8 : 4;
}

/** Elements of a block with its scales, each as many values as told. */
function blockElements(cache: Tensor, values: number): number {
  const { shape, rowStride, dtype } = baseOf(cache);
  const scales = dtype === 'int8' ? (4 * BLOCK_LENGTH * shape[1]!) / values : 0;
  return (BLOCK_LENGTH * rowStride) / values + scales;
}

function addresses(keys: Tensor, values: Tensor, unit: number): Record<string, Const> {
  return {
    block_length: BLOCK_LENGTH,
    k_heads: baseOf(keys).shape[1]!,
    keys_offset: keys.offset / unit,
    keys_stride: keys.rowStride / unit,
    keys_block: blockElements(keys, unit),
    values_offset: values.offset / unit,
    values_stride: values.rowStride / unit,
    values_block: blockElements(values, unit),
  };
}

/** The parts, constants and binding with which a kernel finds places: rows.wgsl and place.wgsl, for the group of a layer's cache. */
export function cachePlaces(batch: Tensor, cache: Tensor) {
  const { layout } = batch.graph;
  const { role } = baseOf(cache);
  const rows = batchRows(batch);
  return {
    parts: [rows.part, placeFile],
    consts: {
      ...rows.consts,
      tables_begin: tablesBegin(layout),
      slot_words: slotWords(layout),
      table_begin: role?.kind === 'kv' ? role.group * blocksOf(layout) : 0,
    },
    binding: rows.binding,
  };
}

/** The part, flags and constants of cache-read.wgsl, the storage type, and the vec4s in one load. */
export function cacheReader(keys: Tensor, values: Tensor) {
  const unit = valuesOfUnit(keys, values);
  const [isInt8, isF16] = [keys.dtype === 'int8', keys.dtype === 'f16'];
  const types = { 4: isF16 ? 'vec2<u32>' : 'vec4<f32>', 8: 'vec4<u32>', 16: 'vec4<u32>' };
  return {
    part: readFile,
    flags: { cache_int8: isInt8, cache_wide: unit === 8, cache_f16: isF16 },
    consts: {
      ...addresses(keys, values, unit),
      k_units: keys.shape[2]! / unit,
      v_units: values.shape[2]! / unit,
    },
    type: types[unit as keyof typeof types],
    vec4s: unit / 4,
  };
}

/** The part, flags, constants and aliases of cache-write.wgsl, and the element type of both caches. */
export function cacheWriter(keys: Tensor, values: Tensor = keys) {
  const isInt8 = keys.dtype === 'int8';
  const type = keys.dtype === 'f32' ? 'vec2<f32>' : 'u32';
  return {
    part: writeFile,
    flags: { cache_int8: isInt8, cache_f16: keys.dtype === 'f16' },
    consts: addresses(keys, values, isInt8 ? 4 : 2),
    aliases: { cache_word: type },
    type,
  };
}
