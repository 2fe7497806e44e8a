/** @file Kernels of loading on this adapter: what they are given, compiled once, and told by file and line when they are wrong. */
import { afterAll, expect, it } from 'vitest';
import { ShaderCompileError } from '../../src/errors.ts';
import { readBuffer } from '../../src/gpu/buffers.ts';
import { openDevice } from '../../src/gpu/device.ts';
import { wgslFile } from '../../src/gpu/kernel.ts';
import { createUploadPass, type UploadSource } from '../../src/weights/upload-pass.ts';

const gpu = await openDevice();
afterAll(() => gpu.dispose());

const withLine = (line: string): UploadSource<'at' | 'value'> => ({
  body: wgslFile(
    'kernels/loading/put.wgsl',
    `// Puts a value.\n@compute @workgroup_size(1)\nfn main() {\n  ${line}\n}\n`,
  ),
  params: ['at', 'value'],
  bindings: { dst: { type: 'u32', access: 'read_write' } },
});

it('takes numbers by name, run after run', async () => {
  const pass = createUploadPass(gpu, 'put', withLine('dst[params.at] = params.value;'));
  const dst = gpu.buffers.storage('put', 16);
  for (let at = 0; at < 4; at++) await pass.run({ value: 10 + at, at }, [dst], 1);
  expect([...new Uint32Array(await readBuffer(gpu.buffers, dst))]).toEqual([10, 11, 12, 13]);
  pass.dispose();
  gpu.buffers.destroy(dst);
  gpu.throwIfFaulty();
});

it('is compiled once for all loads', async () => {
  const [a, b] = [1, 2].map(() => gpu.pipeline(withLine('dst[params.at] += params.value;'), 'add'));
  expect((await a!).pipeline).toBe((await b!).pipeline);
});

it('names the file and line that this device does not compile', async () => {
  const pass = createUploadPass(gpu, 'wrong', withLine('dst[params.nowhere] = params.value;'));
  const failed = await pass.run({ at: 0, value: 0 }, [], 1).catch((error: unknown) => error);
  expect(failed).toBeInstanceOf(ShaderCompileError);
  expect((failed as Error).message).toMatch(/wrong does not compile .*\nkernels\/loading\/put\.wgsl:4: /);
});
