/**
 * @file The formats that a config.json announces for weights that nobody has seen: for plans without a checkpoint. What loading refuses
 * of a quantisation is refused here by the same code. It must not know models or the GPU.
 */
import { MixedFormatsError, UnsupportedConfigError } from '../errors.ts';
import type { WantedWeight, WeightFormat, WeightResolver } from '../graph/weight.ts';
import { formats } from './formats.ts';
import { intFormat } from './int-format.ts';
import { type Quantization, readQuantization } from './quantization.ts';

/** `torch_dtype`, or `dtype` as newer configs have it. */
const DTYPES: Readonly<Record<string, WeightFormat>> = {
  bfloat16: formats.bf16,
  float16: formats.f16,
  float32: formats.f32,
  float64: formats.f32,
};

/** What publishers quantise of a model, if anything; MLX quantises embeddings, heads and routers too. */
const isQuantised = ({ role }: WantedWeight, { method }: Quantization): boolean =>
  role === 'projection' || role === 'expert' || method === 'mlx';

/**
 * Formats as config.json tells of them: its quantisation, and its dtype for what publishers leave alone.
 * @throws UnsupportedConfigError what loading a checkpoint with this config would throw
 */
export function announcedResolver(config: Readonly<Record<string, unknown>>): WeightResolver {
  const quantization = readQuantization(config);
  const plain = dtypeOf(config);
  return (weight) => {
    if (weight.isVector) return formats.f32;
    if (!isQuantised(weight, quantization)) return plain;
    const found = weight.names.map(
      (name) => formatOf(quantization, moduleOf(weight, name), weight.cols) ?? plain,
    );
    const other = found.findIndex((format) => format !== found[0]);
    if (other < 0) return found[0]!;
    throw new MixedFormatsError(
      `config.json has ${weight.names[0]} as ${found[0]!.name} and ${weight.names[other]} as ${found[other]!.name}; ` +
        'they make one matrix on the GPU and must be quantised alike.',
      found,
    );
  };
}

function dtypeOf({ dtype, torch_dtype }: Readonly<Record<string, unknown>>): WeightFormat {
  const found = dtype ?? torch_dtype ?? 'bfloat16';
  // Also "torch.float16", as some tools write it.
  const name = typeof found === 'string' ? found.replace(/^torch\./, '') : '';
  if (name === 'auto') return formats.bf16;
  if (Object.hasOwn(DTYPES, name)) return DTYPES[name]!;
  throw new UnsupportedConfigError(
    `config.json: ${dtype === undefined ? 'torch_dtype' : 'dtype'} is ${JSON.stringify(found)?.slice(0, 80)}, wanted one of ${Object.keys(DTYPES).join(', ')}`,
  );
}

/** A module as MLX names it: experts are one stack. */
const moduleOf = ({ role }: WantedWeight, name: string): string => {
  const module = name.replace(/\.weight$/, '');
  return role === 'expert' ? module.replace(/experts\.\d+\.([^.]+)$/, 'switch_mlp.$1') : module;
};

/** Undefined: as without quantisation. */
function formatOf(quantization: Quantization, module: string, cols: number): WeightFormat | undefined {
  switch (quantization.method) {
    case 'none':
      return undefined;
    case 'fp8':
      return formats.fp8;
    case 'gptq':
    case 'awq': {
      const { bits, groupSize } = quantization;
      const anyGroup = quantization.method === 'gptq' && quantization.isAnyOrder && groupSize !== undefined;
      return intFormat({ bits: bits === 8 ? 8 : 4, groupSize, words: 'f16-zero', anyGroup });
    }
    case 'mlx': {
      const { bits, groupSize } = quantization.groupingOf(module);
      // MLX leaves alone what is no whole groups.
      if (groupSize === undefined || cols % groupSize !== 0) return undefined;
      return intFormat({ bits: bits > 4 ? 8 : 4, groupSize, words: 'bf16-bias' });
    }
    case 'compressed-tensors': {
      // Nearly all checkpoints have one group.
      const [group] = quantization.groupings;
      if (!group) return undefined;
      if (group.isFloat) return formats.fp8;
      return intFormat({ bits: group.bits === 8 ? 8 : 4, groupSize: group.groupSize, words: 'f32' });
    }
    default:
      return quantization satisfies never;
  }
}
