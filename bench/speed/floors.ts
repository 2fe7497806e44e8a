/**
 * @file What an adapter can do at all, by the two plainest kernels there are: bytes that a copy moves in a second, and operations of
 * a register-tiled f32 matrix product. Kernels of the library are measured as fractions of these, in the same run.
 */
import type { GpuContext } from '../../src/gpu/device.ts';

const COPY = `
@group(0) @binding(0) var<storage, read> src: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read_write> dst: array<vec4<u32>>;
@compute @workgroup_size(256)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>) {
  let at = id.x + id.y * grid.x * 256u;
  if (at < arrayLength(&dst)) { dst[at] = src[at]; }
}`;

/** A tile of 64 x 64 outputs, 4 x 4 to a thread, 16 of K at a time through workgroup memory. */
const GEMM = `
override n: u32;
@group(0) @binding(0) var<storage, read> a: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> b: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> c: array<vec4<f32>>;
var<workgroup> a_tile: array<array<f32, 68>, 16>;
var<workgroup> b_tile: array<array<vec4<f32>, 16>, 16>;
@compute @workgroup_size(16, 16)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_id) lane: vec3<u32>, @builtin(local_invocation_index) index: u32) {
  let row = group.y * 64u;
  let col = group.x * 16u;
  var sums = array<vec4<f32>, 4>();
  for (var k = 0u; k < n; k += 16u) {
    let loaded = a[((row + index / 4u) * n + k) / 4u + index % 4u];
    for (var i = 0u; i < 4u; i++) { a_tile[4u * (index % 4u) + i][index / 4u] = loaded[i]; }
    b_tile[index / 16u][index % 16u] = b[(k + index / 16u) * n / 4u + col + index % 16u];
    workgroupBarrier();
    for (var i = 0u; i < 16u; i++) {
      let v = b_tile[i][lane.x];
      for (var r = 0u; r < 4u; r++) { sums[r] += a_tile[i][4u * lane.y + r] * v; }
    }
    workgroupBarrier();
  }
  for (var r = 0u; r < 4u; r++) { c[(row + 4u * lane.y + r) * n / 4u + col + lane.x] = sums[r]; }
}`;

export interface Floors {
  /** Bytes read and bytes written, both counted, in 1e9 a second. */
  copyGigabytesPerSecond: number;
  copyMebibytes: number;
  /** Multiplications and additions, in 1e9 a second. */
  gemmGigaflopsPerSecond: number;
  gemmSize: number;
  /** Milliseconds of this thread to encode and submit `replayDispatches` empty dispatches in one pass. */
  replayMilliseconds: number;
  replayDispatches: number;
}

/** Milliseconds of `submit` until the GPU is done with it: the median of `runs`, after one that does not count. */
export async function timeOnGpu({ device }: GpuContext, runs: number, submit: () => void): Promise<number> {
  const times: number[] = [];
  for (let run = 0; run <= runs; run++) {
    const began = performance.now();
    submit();
    await device.queue.onSubmittedWorkDone();
    if (run > 0) times.push(performance.now() - began);
  }
  return times.sort((a, b) => a - b)[times.length >> 1]!;
}

/** A dispatch repeated so often in one pass that waiting for it is a small part of the time. */
async function timeKernel(
  gpu: GpuContext,
  code: string,
  bound: readonly GPUBuffer[],
  grid: [number, number],
  constants: Record<string, number> = {},
): Promise<number> {
  const { device } = gpu;
  const pipeline = await device.createComputePipelineAsync({
    layout: 'auto',
    compute: { module: device.createShaderModule({ code }), entryPoint: 'main', constants },
  });
  const bindGroup = device.createBindGroup({
    layout: pipeline.getBindGroupLayout(0),
    entries: bound.map((buffer, binding) => ({ binding, resource: { buffer } })),
  });
  const run = (count: number) => (): void => {
    const encoder = device.createCommandEncoder();
    const pass = encoder.beginComputePass();
    pass.setPipeline(pipeline);
    pass.setBindGroup(0, bindGroup);
    for (let i = 0; i < count; i++) pass.dispatchWorkgroups(...grid);
    pass.end();
    device.queue.submit([encoder.finish()]);
  };
  const once = await timeOnGpu(gpu, 1, run(1));
  const count = Math.max(1, Math.min(200, Math.round(60 / once)));
  return (await timeOnGpu(gpu, 5, run(count))) / count;
}

const NOTHING = `
@group(0) @binding(0) var<storage, read> src: array<u32>;
@group(0) @binding(1) var<storage, read_write> dst: array<u32>;
@compute @workgroup_size(1)
fn main() { dst[0] = src[0]; }`;

const REPLAY_DISPATCHES = 200;

/** What a step with as many dispatches as Qwen3-0.6B has costs the host at least: pipelines and bind groups in turn, as a model has. */
async function measureReplay({ device, buffers }: GpuContext): Promise<number> {
  const bindGroupLayout = device.createBindGroupLayout({
    entries: (['read-only-storage', 'storage'] as const).map((type, binding) => ({
      binding,
      visibility: GPUShaderStage.COMPUTE,
      buffer: { type },
    })),
  });
  const layout = device.createPipelineLayout({ bindGroupLayouts: [bindGroupLayout] });
  const made = Array.from({ length: 4 }, () => buffers.storage('replay', 256));
  const steps = await Promise.all(
    [0, 2].map(async (at) => ({
      pipeline: await device.createComputePipelineAsync({
        layout,
        compute: { module: device.createShaderModule({ code: `${NOTHING} // ${at}` }) },
      }),
      bindGroup: device.createBindGroup({
        layout: bindGroupLayout,
        entries: made.slice(at, at + 2).map((buffer, binding) => ({ binding, resource: { buffer } })),
      }),
    })),
  );
  const times: number[] = [];
  for (let run = 0; run < 50; run++) {
    const began = performance.now();
    const encoder = device.createCommandEncoder();
    const pass = encoder.beginComputePass();
    for (let i = 0; i < REPLAY_DISPATCHES; i++) {
      const { pipeline, bindGroup } = steps[i % 2]!;
      pass.setPipeline(pipeline);
      pass.setBindGroup(0, bindGroup);
      pass.dispatchWorkgroups(1, 1, 1);
    }
    pass.end();
    device.queue.submit([encoder.finish()]);
    times.push(performance.now() - began);
    await device.queue.onSubmittedWorkDone();
  }
  made.forEach(buffers.destroy);
  return times.sort((a, b) => a - b)[times.length >> 1]!;
}

export async function measureFloors(gpu: GpuContext): Promise<Floors> {
  const { buffers, traits } = gpu;
  const isSoftware = gpu.info.isFallback || /llvmpipe|swiftshader/i.test(gpu.info.description);
  const bytes = Math.min(traits.maxBindingBytes, (isSoftware ? 64 : 512) << 20);
  const gemmSize = isSoftware ? 512 : 4096;
  const made: GPUBuffer[] = [];
  const storage = (size: number, fill: boolean): GPUBuffer => {
    const buffer = buffers.storage('floor', size);
    made.push(buffer);
    // Values near 1, for a processor may be faster with zeros and slower with denormals.
    const chunk = new Uint32Array(1 << 20);
    for (let i = 0; i < chunk.length; i++) chunk[i] = 0x3f800000 | (Math.random() * 0x7fffff);
    for (let at = 0; fill && at < size; at += chunk.byteLength)
      gpu.device.queue.writeBuffer(buffer, at, chunk, 0, Math.min(chunk.byteLength, size - at) / 4);
    return buffer;
  };
  try {
    const groups = bytes / 16 / 256;
    const x = Math.min(groups, traits.maxGridSize);
    const copy = await timeKernel(
      gpu,
      COPY,
      [storage(bytes, true), storage(bytes, false)],
      [x, Math.ceil(groups / x)],
    );
    const gemmBytes = gemmSize * gemmSize * 4;
    const tiles = gemmSize / 64;
    const gemm = await timeKernel(
      gpu,
      GEMM,
      [storage(gemmBytes, true), storage(gemmBytes, true), storage(gemmBytes, false)],
      [tiles, tiles],
      { n: gemmSize },
    );
    return {
      copyGigabytesPerSecond: (2 * bytes) / copy / 1e6,
      copyMebibytes: bytes / 2 ** 20,
      gemmGigaflopsPerSecond: (2 * gemmSize ** 3) / gemm / 1e6,
      gemmSize,
      replayMilliseconds: await measureReplay(gpu),
      replayDispatches: REPLAY_DISPATCHES,
    };
  } finally {
    for (const buffer of made) buffers.destroy(buffer);
  }
}
