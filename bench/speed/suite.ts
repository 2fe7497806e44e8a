/** @file Everything that `npm run bench` measures of the library, in Node or in a page. Gives plain data; prints and draws nothing. */
import { openDevice } from '../../src/gpu/device.ts';
import { type Floors, measureFloors } from './floors.ts';
import { type KERNEL_FORMATS, type KernelSpeed, matricesOf, measureLinear, variantsOf } from './kernels.ts';
import { type ModelSpeed, measureModel } from './model.ts';
import { SHAPES, type ShapeName } from './shapes.ts';

export interface SuiteOptions {
  /** Models to measure. */
  shapes: readonly ShapeName[];
  /** The model whose matrices the kernels are measured on. */
  kernelShape: ShapeName;
  weights: readonly ('bf16' | 'f16' | 'int8' | 'int4')[];
  contexts: readonly number[];
  /** Tokens of an answer. */
  tokens: number;
  runs: number;
  kernelFormats: readonly (keyof typeof KERNEL_FORMATS)[];
  /** Rows of a matvec, of speculation's steps, and of a prefill's tile. */
  kernelRows: readonly number[];
  /** Of products with one row every variant that the device can run, so that tuning can be judged; else the one in use. */
  everyVariant: boolean;
  /** Bytes of weights that a kernel measurement reads. */
  kernelBytes: number;
}

export interface SuiteResult {
  adapter: { vendor: string; architecture: string; description: string; features: string[] };
  environment: string;
  date: string;
  options: SuiteOptions;
  floors: Floors;
  kernels: KernelSpeed[];
  models: ModelSpeed[];
}

/** Browsers keep the description to themselves. */
export const adapterName = ({ description, vendor, architecture }: SuiteResult['adapter']): string =>
  description || `${vendor} ${architecture}`.trim() || 'unknown adapter';

/** More rows are computed in tiles, where bytes are no limit. */
const MOST_MATVEC_ROWS = 8;

export async function runSuite(
  options: SuiteOptions,
  { gpu, environment, onLine }: { gpu?: GPU; environment: string; onLine: (line: string) => void },
): Promise<SuiteResult> {
  const context = await openDevice({ ...(gpu && { gpu }) });
  const { info, traits } = context;
  const adapter = {
    vendor: info.vendor,
    architecture: info.architecture,
    description: info.description,
    features: (['subgroups', 'f16'] as const).filter((name) => traits[name]),
  };
  let floors: Floors;
  const kernels: KernelSpeed[] = [];
  try {
    floors = await measureFloors(context);
    onLine(
      `${adapterName(adapter)}: copy ${floors.copyGigabytesPerSecond.toFixed(1)} GB/s, plain f32 GEMM ${floors.gemmGigaflopsPerSecond.toFixed(1)} GFLOP/s, ${floors.replayDispatches} empty dispatches ${floors.replayMilliseconds.toFixed(3)} ms of JavaScript`,
    );
    for (const shape of matricesOf(SHAPES[options.kernelShape])) {
      for (const format of options.kernelFormats) {
        for (const rows of options.kernelRows) {
          const leastBytes = rows > MOST_MATVEC_ROWS ? 1 : options.kernelBytes;
          const isCompared = options.everyVariant && rows === 1;
          const variants = isCompared ? variantsOf(context, shape, format, rows) : [undefined];
          for (const variant of variants) {
            const { runs } = options;
            const speed = await measureLinear(context, floors, shape, format, rows, {
              leastBytes,
              runs,
              variant,
            });
            kernels.push(speed);
            onLine(kernelLine(speed));
          }
        }
      }
    }
  } finally {
    context.dispose();
  }
  const models: ModelSpeed[] = [];
  for (const shape of options.shapes) {
    for (const weights of options.weights) {
      const speed = await measureModel({ ...options, shape, config: SHAPES[shape], weights, gpu });
      models.push(speed);
      for (const line of modelLines(speed)) onLine(line);
    }
  }
  return { adapter, environment, date: new Date().toISOString(), options, floors, kernels, models };
}

const percent = (share: number): string => `${(100 * share).toFixed(1)} %`.padStart(8);

export function kernelLine(k: KernelSpeed): string {
  return (
    `${k.kernel.padEnd(38)}${k.format.padEnd(6)}${k.matrix.padEnd(16)}${String(k.rows).padStart(4)} rows${k.milliseconds.toFixed(3).padStart(10)} ms` +
    `${k.gigabytesPerSecond.toFixed(1).padStart(9)} GB/s${percent(k.ofCopy)} of copy${k.gigaflopsPerSecond.toFixed(1).padStart(10)} GFLOP/s${percent(k.ofGemm)} of GEMM`
  );
}

export function modelLines(m: ModelSpeed): string[] {
  const mebibytes = (bytes: number): string => `${(bytes / 2 ** 20).toFixed(1)} MiB`;
  const { perToken } = m;
  return [
    `${m.shape} ${m.weights}: load ${m.loadSeconds.toFixed(1)} s, compile ${m.compileSeconds.toFixed(1)} s; weights ${mebibytes(m.weightBytes)}, KV ${mebibytes(m.kvBytes)}, peak ${mebibytes(m.peakBytes)} (${mebibytes(m.peakBytes - m.weightBytes - m.kvBytes)} above both)`,
    `  a token: ${perToken.dispatches} dispatches, ${perToken.submits} submit, ${perToken.readbacks} readback of ${perToken.readbackBytes} bytes, ${m.pipelines} pipelines, ${mebibytes(perToken.weightBytes)} of weights, ${perToken.hostMilliseconds.toFixed(3)} ms of JavaScript; sampled at ${percent(m.sampledOverGreedy).trim()} of greedy speed`,
    ...m.contexts.map(
      (c) =>
        `  ${String(c.context).padStart(5)} tokens: prefill ${c.prefillTokensPerSecond.toFixed(1).padStart(8)} tokens/s, first token ${c.timeToFirstToken.toFixed(0).padStart(6)} ms, decode ${c.decodeTokensPerSecond.toFixed(2).padStart(8)} tokens/s` +
        (c.cpuMsPerToken === undefined
          ? ''
          : `, ${c.cpuMsPerToken.toFixed(2).padStart(8)} ms of CPU a token`),
    ),
  ];
}
