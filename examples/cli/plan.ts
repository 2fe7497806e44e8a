/**
 * @file `npm run plan -- DIR|config.json [--weights bf16] [--context N] [--json] [--ops]`: what a model would cost,
 * without a GPU and without its weights.
 */
import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { type Estimate, estimate } from '../../src/engine/estimate.ts';
import { ShaderloomError } from '../../src/errors.ts';
import { printPlan } from '../../src/graph/print.ts';
import { familyOf } from '../../src/models/index.ts';
import { uniformResolver } from '../../src/weights/resolve.ts';

const USAGE =
  'usage: npm run plan -- DIR|config.json [--weights bf16|f16|f32] [--context N] [--json] [--ops]';
/** What desktop adapters bind; a weight beyond it takes another dispatch. */
const DESKTOP_BINDING_BYTES = 2 ** 31;
const PREFILL_ROWS = 256;

async function main(): Promise<void> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      weights: { type: 'string', default: 'bf16' },
      context: { type: 'string' },
      json: { type: 'boolean', default: false },
      ops: { type: 'boolean', default: false },
    },
  });
  const [path] = positionals;
  if (!path || positionals.length > 1) throw new ShaderloomError(USAGE);
  const config = await readConfig(path);
  const max = familyOf(config).config(config).maxPositionEmbeddings;
  const capacity = values.context === undefined ? Math.min(max, 4096) : Number(values.context);
  if (!Number.isSafeInteger(capacity) || capacity < 1)
    throw new ShaderloomError(`--context ${values.context}, wanted a positive integer`);
  const options = {
    capacity,
    kvDtype: 'f16',
    prefillRows: Math.min(PREFILL_ROWS, capacity),
    maxBindingBytes: DESKTOP_BINDING_BYTES,
  } as const;
  const planned = estimate(config, uniformResolver(values.weights), options);
  if (values.json) {
    console.log(JSON.stringify(planned.estimate, null, 2));
    return;
  }
  if (values.ops) console.log(`${printPlan(planned.decode)}\n`);
  console.log(table(planned.estimate, capacity));
}

async function readConfig(path: string): Promise<Record<string, unknown>> {
  try {
    const file = (await stat(path)).isDirectory() ? join(path, 'config.json') : path;
    return JSON.parse(await readFile(file, 'utf8')) as Record<string, unknown>;
  } catch (error) {
    throw new ShaderloomError(
      `${path} cannot be read as a config.json, or a folder that has one: ${(error as Error).message}`,
    );
  }
}

function table(e: Estimate, capacity: number): string {
  const mebibytes = (bytes: number): string => `${(bytes / 2 ** 20).toFixed(1)} MiB`;
  const rows: [string, string][] = [
    ['dispatches per token', String(e.dispatchesPerToken)],
    ['  in each layer', String(e.dispatchesPerLayer)],
    ['  outside the layers', String(e.dispatchesOutsideLayers)],
    ['weights', mebibytes(e.weightBytes)],
    ['  read per token', mebibytes(e.activeWeightBytesPerToken)],
    [`KV cache of ${capacity} tokens`, mebibytes(e.kvBytesPerToken * capacity)],
    ['  per token', `${e.kvBytesPerToken} bytes`],
    ['activations', mebibytes(e.activationBytes)],
  ];
  return rows.map(([name, value]) => `${name.padEnd(28)}${value.padStart(14)}`).join('\n');
}

await main().catch((error: unknown) => {
  console.error(error instanceof ShaderloomError ? error.message : error);
  process.exitCode = 1;
});
