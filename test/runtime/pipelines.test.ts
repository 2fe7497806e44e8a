/** @file The keys by which pipelines are found again without assembling their code. */
import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { kernels } from '../../kernels/index.ts';
import { assemble, type DeviceTraits, sourceKey } from '../../src/gpu/kernel.ts';
import { estimate } from '../../src/runtime/load/estimate.ts';
import { buildSources, chooseVariant } from '../../src/runtime/program/program.ts';
import { uniformResolver } from '../../src/weights/resolve.ts';

const read = (path: string): Record<string, unknown> =>
  JSON.parse(readFileSync(new URL(`../fixtures/goldens/${path}/config.json`, import.meta.url), 'utf8'));
const traits: DeviceTraits = {
  f16: false,
  subgroups: false,
  subgroupMinSize: 4,
  subgroupMaxSize: 4,
  maxBindingBytes: 2 ** 20,
  maxWorkgroupBytes: 16384,
  maxWorkgroupInvocations: 256,
  maxGridSize: 65535,
};

test('every kernel of every family, on devices of all kinds, is found by a key that no other code has', () => {
  const codes = new Map<string, string>();
  for (const path of ['qwen2', 'qwen3-dense', 'qwen3-moe', 'deepseek-v3']) {
    for (const format of ['bf16', 'fp8'] as const) {
      const { decode, prefill } = estimate(read(path), uniformResolver(format), {
        capacity: 256,
        kvFormat: 'f16',
        prefillRows: 64,
        maxBindingBytes: traits.maxBindingBytes,
      });
      for (const features of [{}, { subgroups: true }, { f16: true }]) {
        const device = { ...traits, ...features };
        for (const op of [...decode.graph.ops, ...prefill.graph.ops]) {
          for (const { source } of buildSources(chooseVariant(kernels, op, device), op, device)) {
            const { code } = assemble(source);
            const known = codes.get(sourceKey(source));
            if (known !== undefined && known !== code) expect(code).toBe(known);
            codes.set(sourceKey(source), code);
          }
        }
      }
    }
  }
  expect(codes.size).toBeGreaterThan(50);
  expect(new Set(codes.values()).size).toBe(codes.size);
});
