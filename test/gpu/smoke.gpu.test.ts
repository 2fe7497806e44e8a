/** @file The least a machine must do before any other GPU test means something. */
import { expect, test } from 'vitest';

const SHADER = /* wgsl */ `
@group(0) @binding(0) var<storage, read_write> data: array<u32>;
@compute @workgroup_size(64) fn main(@builtin(global_invocation_id) id: vec3u) { data[id.x] = data[id.x] * 3u + id.x; }`;

test('a compute shader runs on this adapter and its result reads back', async () => {
  const adapter = await navigator.gpu.requestAdapter();
  expect(adapter, 'no WebGPU adapter: `npm run setup` says what to install').not.toBeNull();
  const device = await adapter!.requestDevice();
  const input = Uint32Array.from({ length: 256 }, () => Math.floor(Math.random() * 2 ** 32));
  const size = input.byteLength;
  const data = device.createBuffer({
    size,
    usage: GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST,
  });
  const readback = device.createBuffer({ size, usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST });
  const pipeline = await device.createComputePipelineAsync({
    layout: 'auto',
    compute: { module: device.createShaderModule({ code: SHADER }) },
  });
  const bindGroup = device.createBindGroup({
    layout: pipeline.getBindGroupLayout(0),
    entries: [{ binding: 0, resource: { buffer: data } }],
  });
  device.queue.writeBuffer(data, 0, input);
  const encoder = device.createCommandEncoder();
  const pass = encoder.beginComputePass();
  pass.setPipeline(pipeline);
  pass.setBindGroup(0, bindGroup);
  pass.dispatchWorkgroups(input.length / 64);
  pass.end();
  encoder.copyBufferToBuffer(data, 0, readback, 0, size);
  device.queue.submit([encoder.finish()]);
  await readback.mapAsync(GPUMapMode.READ);

  const output = new Uint32Array(readback.getMappedRange().slice(0));
  expect(output).toEqual(input.map((value, index) => Math.imul(value, 3) + index));
  device.destroy();
});
