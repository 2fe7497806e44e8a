import { expect, test } from 'vitest';
import { gpu } from '../src/node.ts';

test('gpu() gives WebGPU and its constants in Node', async () => {
  const found = await gpu();
  expect(found.requestAdapter).toBeTypeOf('function');
  expect(GPUBufferUsage.STORAGE).toBe(0x80);
});
