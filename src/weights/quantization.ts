/**
 * @file What config.json says about quantised weights, by publisher. It refuses what is not implemented; which tensor is
 * quantised and how wide, the tensors themselves tell (stored.ts). It must not know tensors, models or the GPU.
 * Not read: lists of modules left alone, since each tensor tells whether it was converted; how a kernel for 8-bit products
 * would round activations, since here they stay as exact as without quantisation.
 */
import { UnsupportedConfigError } from '../errors.ts';
import { FP8_BLOCK } from './fp8-block.ts';
import { isJsonObject } from './json.ts';

type Json = Readonly<Record<string, unknown>>;

/** Bits and group of one module; a group size of undefined is the whole row. */
export interface Grouping {
  readonly bits: number;
  readonly groupSize: number | undefined;
}

/** Of compressed-tensors: float8, or integers. */
interface CompressedGrouping extends Grouping {
  readonly isFloat: boolean;
}

export type Quantization =
  | { readonly method: 'none' | 'fp8' }
  | ({
      readonly method: 'gptq';
      /** Added to stored zero points. */
      readonly zeroOffset: 0 | 1;
      /** Every zero point is the middle of the range, whichever way it is stored. */
      readonly isSymmetric: boolean;
      /** Columns belong to groups in any order. */
      readonly isAnyOrder: boolean;
      /** Some modules have bits or groups of their own. */
      readonly hasOverrides: boolean;
    } & Grouping)
  | ({ readonly method: 'awq' } & Grouping)
  | { readonly method: 'mlx'; groupingOf(module: string): Grouping }
  | { readonly method: 'compressed-tensors'; readonly groupings: readonly CompressedGrouping[] };

/** As messages and the README name them. */
export const KNOWN_QUANTIZATIONS =
  `{"quant_method":"fp8","weight_block_size":[${FP8_BLOCK},${FP8_BLOCK}]} (or none), {"quant_method":"gptq","bits":4} (or 8), ` +
  '{"quant_method":"awq","bits":4,"version":"gemm"}, {"quant_method":"compressed-tensors"} with format pack-quantized, ' +
  'int-quantized, float-quantized or naive-quantized, {"quant_method":"fbgemm_fp8"}, {"quant_method":"modelopt","quant_algo":"FP8"}, ' +
  '{"quant_method":"auto-round"} packed as GPTQ or AWQ, and MLX\'s {"bits":4,"group_size":64} (2, 3, 4, 5, 6 or 8 bits)';

function refuse(found: unknown): UnsupportedConfigError {
  return new UnsupportedConfigError(
    `config.json: quantization_config is ${JSON.stringify(found)?.slice(0, 300)}; what works is ${KNOWN_QUANTIZATIONS}. Choose a checkpoint in one of these ` +
      'formats, or one that is not quantised (BF16, F16, F32).',
  );
}

/**
 * Reads `quantization_config` and MLX's `quantization`.
 * @throws UnsupportedConfigError when they tell of a format that is not implemented
 */
export function readQuantization(config: Json): Quantization {
  const found = config.quantization ?? config.quantization_config;
  if (found === undefined || found === null) return { method: 'none' };
  if (!isJsonObject(found)) throw refuse(found);
  if (config.quantization !== undefined && config.quantization !== null) return readMlx(found);
  switch (found.quant_method) {
    case 'fp8':
      return readFp8(found);
    case 'gptq':
      return readGptq(found);
    case 'awq':
      return readAwq(found);
    case 'compressed-tensors':
      return readCompressed(found);
    case 'fbgemm_fp8':
      return { method: 'fp8' };
    case 'modelopt':
      return readModelOpt(found);
    case 'auto-round':
    case 'intel/auto-round':
      return readAutoRound(found);
    case undefined:
      return readMlx(found);
    default:
      throw refuse(pick(found, 'quant_method'));
  }
}

const pick = (json: Json, ...keys: string[]): Json =>
  Object.fromEntries(keys.map((key) => [key, json[key]]).filter(([, value]) => value !== undefined));

/** Absent, null, or one of `values`. */
const isOneOf = (value: unknown, ...values: unknown[]): boolean =>
  value === undefined || value === null || values.includes(value);

function readFp8(json: Json): Quantization {
  const { fmt, weight_block_size: block } = json;
  const isKnown =
    isOneOf(fmt, 'e4m3', 'float8_e4m3fn') &&
    (isOneOf(block) || JSON.stringify(block) === JSON.stringify([FP8_BLOCK, FP8_BLOCK]));
  if (!isKnown) throw refuse(pick(json, 'quant_method', 'fmt', 'weight_block_size'));
  return { method: 'fp8' };
}

/** NVIDIA's ModelOpt: of its kinds the one with a scale for each matrix, or for each row. */
function readModelOpt(json: Json): Quantization {
  if (isOneOf(json.quant_algo, 'FP8', 'FP8_PER_CHANNEL_PER_TOKEN') && json.quant_algo)
    return { method: 'fp8' };
  throw refuse(pick(json, 'quant_method', 'quant_algo'));
}

/**
 * AutoRound: its `packing_format` says whose layout it writes. How its versions store zero points as GPTQ differs, so that they must be
 * the same everywhere; of modules with settings of their own those that are left alone are known by their tensors.
 */
function readAutoRound(json: Json): Quantization {
  const { packing_format: packing, extra_config: extra, data_type, sym } = json;
  const as = typeof packing === 'string' ? /(?:^|:)(?:auto_)?(gptq|awq)$/.exec(packing)?.[1] : undefined;
  const others = isJsonObject(extra) ? Object.values(extra) : [];
  const areLeft = others.every((module) => isJsonObject(module) && Number(module.bits) >= 16);
  if (!as || !areLeft || !isOneOf(data_type, 'int') || (as === 'gptq' && sym !== true)) {
    throw refuse(
      pick(json, 'quant_method', 'packing_format', 'data_type', 'bits', 'group_size', 'sym', 'extra_config'),
    );
  }
  const plain = pick(json, 'bits', 'group_size', 'sym');
  return as === 'gptq' ? readGptq(plain) : readAwq(plain);
}

/** A natural number, or -1 (whole rows): the group size as published. @returns NaN for anything else */
function groupSizeOf(value: unknown): number | undefined {
  if (value === -1) return undefined;
  return typeof value === 'number' && Number.isSafeInteger(value) && value > 0 ? value : Number.NaN;
}

const isGrouping = (
  { bits, groupSize }: { bits: unknown; groupSize: number | undefined },
  widths: readonly unknown[] = [4, 8],
): boolean => widths.includes(bits) && (groupSize === undefined || groupSize % 32 === 0);

function readGptq(json: Json): Quantization {
  const { bits, desc_act, sym, checkpoint_format, format, pack_dtype, is_marlin_format, dynamic } = json;
  const hasOverrides = isJsonObject(dynamic) && Object.keys(dynamic).length > 0;
  const groupSize = groupSizeOf(json.group_size);
  const isKnown =
    isGrouping({ bits, groupSize }) &&
    isOneOf(desc_act, true, false) &&
    isOneOf(sym, true, false) &&
    isOneOf(checkpoint_format, 'gptq', 'gptq_v2') &&
    isOneOf(format, 'gptq', 'gptq_v2') &&
    isOneOf(pack_dtype, 'int32') &&
    isOneOf(is_marlin_format, false);
  if (!isKnown) {
    throw refuse(
      pick(
        json,
        'quant_method',
        'bits',
        'group_size',
        'desc_act',
        'sym',
        'checkpoint_format',
        'format',
        'pack_dtype',
        'is_marlin_format',
      ),
    );
  }
  return {
    method: 'gptq',
    bits: bits as number,
    groupSize,
    zeroOffset: (checkpoint_format ?? format) === 'gptq_v2' ? 0 : 1,
    // Modules with settings of their own may have this one, too.
    isSymmetric: sym === true && !hasOverrides,
    isAnyOrder: desc_act === true,
    hasOverrides,
  };
}

function readAwq(json: Json): Quantization {
  const groupSize = groupSizeOf(json.group_size ?? json.q_group_size);
  const bits = json.bits ?? json.w_bit;
  const isKnown =
    bits === 4 &&
    isGrouping({ bits, groupSize }) &&
    isOneOf(json.version, 'gemm', 'GEMM') &&
    isOneOf(json.zero_point, true);
  if (!isKnown) throw refuse(pick(json, 'quant_method', 'bits', 'group_size', 'version', 'zero_point'));
  return { method: 'awq', bits: 4, groupSize };
}

const MLX_BITS = [2, 3, 4, 5, 6, 8];

function readMlx(json: Json): Quantization {
  const read = (module: Json): Grouping | undefined => {
    const groupSize = groupSizeOf(module.group_size);
    const isKnown =
      groupSize !== undefined &&
      isGrouping({ bits: module.bits, groupSize }, MLX_BITS) &&
      isOneOf(module.mode, 'affine');
    return isKnown ? { bits: module.bits as number, groupSize } : undefined;
  };
  const general = read(json);
  if (!general) {
    const told = pick(json, 'quant_method', 'bits', 'group_size', 'mode');
    // Of what tells nothing of that (bitsandbytes without its quant_method) all is shown.
    throw refuse(Object.keys(told).length > 0 ? told : json);
  }
  const overrides = new Map<string, Grouping>();
  for (const [module, value] of Object.entries(json)) {
    if (!isJsonObject(value)) continue;
    const own = read({ ...pick(json, 'bits', 'group_size', 'mode'), ...value });
    if (!own) throw refuse({ [module]: value });
    overrides.set(module, own);
  }
  return { method: 'mlx', groupingOf: (module) => overrides.get(module) ?? general };
}

const COMPRESSED_FORMATS = [
  'pack-quantized',
  'int-quantized',
  'float-quantized',
  'naive-quantized',
  'mixed-precision',
];

function readCompressed(json: Json): Quantization {
  const { format, config_groups, sparsity_config, transform_config } = json;
  const isSparse = isJsonObject(sparsity_config) && !isOneOf(sparsity_config.format, 'dense');
  const isTransformed = isJsonObject(transform_config) && Object.keys(transform_config).length > 0;
  if (!isOneOf(format, ...COMPRESSED_FORMATS) || isSparse || isTransformed || !isJsonObject(config_groups))
    throw refuse(pick(json, 'quant_method', 'format', 'sparsity_config', 'transform_config'));
  const groupings = Object.values(config_groups).map((group): CompressedGrouping => {
    const weights = isJsonObject(group) ? group.weights : undefined;
    if (!isJsonObject(weights)) throw refuse({ config_groups: group });
    const { num_bits: bits, group_size, strategy, type } = weights;
    const groupSize = strategy === 'group' ? groupSizeOf(group_size) : undefined;
    if (!isGrouping({ bits, groupSize }) || !isOneOf(strategy, 'group', 'channel', 'tensor', 'block'))
      throw refuse({ quant_method: json.quant_method, weights });
    return { bits: bits as number, groupSize, isFloat: type === 'float' };
  });
  return { method: 'compressed-tensors', groupings };
}
