/**
 * @file Checkpoints in float8 with a scale for each block of 128 x 128 weights, as DeepSeek-V3 and Qwen3-*-FP8 are published:
 * `X.weight` in e4m3 and `X.weight_scale_inv` beside it, W[r, c] = weight[r, c] * scale[floor(r / 128), floor(c / 128)].
 * Owns these names, shapes and what config.json says about them. It must not know models or the GPU.
 * Source: DeepSeek-V3, README_WEIGHTS.md.
 */
import { MissingWeightError, UnsupportedConfigError, WeightMismatchError } from '../errors.ts';
import type { TensorEntry } from './checkpoint.ts';
import { isJsonObject } from './json.ts';
import type { SafetensorsDtype } from './safetensors.ts';

/** Rows and columns of weights that share a scale. */
export const FP8_BLOCK = 128;

/** Published scales are F32 (DeepSeek) or BF16 (Qwen); F16 has been seen. */
const SCALE_DTYPES: readonly SafetensorsDtype[] = ['F32', 'BF16', 'F16'];

/** The tensor that holds the scales of `name`. */
export const scaleNameOf = (name: string): string => `${name}_scale_inv`;

/**
 * Refuses a config whose `quantization_config` tells of another format.
 * @throws UnsupportedConfigError
 */
export function checkQuantization(config: Readonly<Record<string, unknown>>): void {
  const found = config.quantization_config;
  if (found === undefined || found === null) return;
  const { quant_method, fmt, weight_block_size } = isJsonObject(found) ? found : {};
  // Not read: `modules_to_not_convert`, since each tensor's own dtype tells whether it was converted; `activation_scheme`,
  // since it tells how a kernel for 8-bit products would round activations, and here they stay as exact as without quantisation.
  const isKnown =
    quant_method === 'fp8' &&
    (fmt === undefined || fmt === null || fmt === 'e4m3') &&
    JSON.stringify(weight_block_size) === JSON.stringify([FP8_BLOCK, FP8_BLOCK]);
  if (isKnown) return;
  const shown = isJsonObject(found) ? { quant_method, fmt, weight_block_size } : found;
  throw new UnsupportedConfigError(
    `config.json: quantization_config is ${JSON.stringify(shown)}; the one that works is {"quant_method":"fp8","fmt":"e4m3",` +
      `"weight_block_size":[${FP8_BLOCK},${FP8_BLOCK}]}. Choose a checkpoint in that format, or one that is not quantised (BF16, F16, F32).`,
  );
}

/**
 * Checks the scales of a tensor in F8_E4M3.
 * @throws MissingWeightError | WeightMismatchError naming the tensor
 */
export function checkScales(
  tensors: ReadonlyMap<string, TensorEntry>,
  { name, dtype, shape }: TensorEntry,
): void {
  if (shape.length !== 2) {
    throw new WeightMismatchError(
      `${name} is a vector stored as ${dtype}, which only matrices can be. Choose a checkpoint that keeps it in BF16, F16 or F32.`,
    );
  }
  const scaleName = scaleNameOf(name);
  const wanted = shape.map((n) => Math.ceil(n / FP8_BLOCK)).join();
  const scales = tensors.get(scaleName);
  if (!scales) {
    const others = [...tensors.keys()].filter((other) => other.startsWith(`${name}_`));
    throw new MissingWeightError(
      `${name} is stored as ${dtype} [${shape}], and the checkpoint has no ${scaleName} (wanted [${wanted}], a scale for each ` +
        `${FP8_BLOCK} x ${FP8_BLOCK} weights). ${others.length > 0 ? `It has ${others.join(', ')} instead: a format that is not supported.` : 'Check that all its files are there.'}`,
    );
  }
  if (scales.shape.join() !== wanted) {
    throw new WeightMismatchError(
      `${scaleName} has shape [${scales.shape}], wanted [${wanted}]: a scale for each ${FP8_BLOCK} x ${FP8_BLOCK} of the [${shape}] weights of ${name}.`,
    );
  }
  if (!SCALE_DTYPES.includes(scales.dtype)) {
    throw new WeightMismatchError(
      `${scaleName} is stored as ${scales.dtype}, wanted one of ${SCALE_DTYPES.join(', ')}.`,
    );
  }
}
