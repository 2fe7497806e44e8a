/** @file A checkpoint of a published config that has headers and no weights: everything can be asked of it but to be loaded. */
import { readFileSync } from 'node:fs';
import { estimate } from '../../src/runtime/load/estimate.ts';
import type { Source } from '../../src/sources/source.ts';
import { uniformResolver } from '../../src/weights/resolve.ts';

export interface HeaderOnly {
  source: Source;
  /** Size of the one file with tensors. */
  fileBytes: number;
  tensorBytes: number;
}

/** @param config a folder of test/fixtures/configs, whose tensors are all in bf16 */
export function headerOnly(config: string): HeaderOnly {
  const text = readFileSync(new URL(`../fixtures/configs/${config}/config.json`, import.meta.url), 'utf8');
  const json = JSON.parse(text) as Record<string, unknown>;
  const options = { capacity: 64, kvFormat: 'f16', prefillRows: 2, maxBindingBytes: 2 ** 31 } as const;
  const { weights } = estimate(json, uniformResolver('bf16'), options).decode.graph;
  const shapes = new Map(
    [...weights.values()].flatMap(({ names, rowsOf, cols, isVector }) =>
      names.map((name, i) => [name, isVector ? [rowsOf[i]!] : [rowsOf[i]!, cols]] as const),
    ),
  );
  let end = 0;
  const entries = [...shapes].map(([name, shape]) => {
    const begin = end;
    end += shape.reduce((a, b) => a * b, 2);
    return [name, { dtype: 'BF16', shape, data_offsets: [begin, end] }];
  });
  const header = new TextEncoder().encode(JSON.stringify(Object.fromEntries(entries)));
  const start = new Uint8Array(8 + header.length);
  new DataView(start.buffer).setBigUint64(0, BigInt(header.length), true);
  start.set(header, 8);
  const size = start.length + end;
  return {
    fileBytes: size,
    tensorBytes: end,
    source: {
      label: `headers of ${config}`,
      readFile: async (name) => (name === 'config.json' ? new TextEncoder().encode(text) : undefined),
      readStart: async (name, maxBytes) =>
        name === 'model.safetensors' ? { bytes: start.slice(0, maxBytes), size } : undefined,
      // biome-ignore lint/correctness/useYield: nobody may ask for weights
      async *stream(name) {
        throw new Error(`bytes of ${name} were asked for`);
      },
    },
  };
}
