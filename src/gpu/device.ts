/**
 * @file The GPU device: adapter, every limit and feature raised that it offers, capability traits, loss, and the cache of
 * compiled pipelines. Knows WebGPU; knows no op, model or checkpoint.
 */
import { DeviceLostError, ShaderCompileError, ShaderloomError, WebGPUUnavailableError } from '../errors.ts';
import { type BufferPool, createBufferPool } from './buffers.ts';
import { type AssembledKernel, assemble, type DeviceTraits, type ShaderSource, sourceKey } from './kernel.ts';

export interface GpuContext {
  readonly device: GPUDevice;
  readonly info: { vendor: string; architecture: string; description: string; isFallback: boolean };
  readonly traits: DeviceTraits;
  readonly hasTimestamps: boolean;
  readonly buffers: BufferPool;
  /** Settles when the device is lost by itself, not by `dispose`. */
  readonly lost: Promise<DeviceLostError>;
  /** Throws what went wrong on the device since the last check: loss, or an error that no scope caught. */
  throwIfFaulty(): void;
  pipeline(source: ShaderSource, label: string): Promise<Pipeline>;
  /** Destroys every buffer and the device. */
  dispose(): void;
}

export interface Pipeline {
  readonly pipeline: GPUComputePipeline;
  readonly layout: GPUBindGroupLayout;
  readonly code: string;
}

export interface DeviceOptions {
  gpu?: GPU;
  /** Leave out a feature that the adapter has. */
  subgroups?: boolean;
  f16?: boolean;
}

/** Compilations in flight at once: enough to use the driver's threads, few enough not to freeze the page. */
const COMPILE_WINDOW = 8;

const WANTED_FEATURES = ['shader-f16', 'subgroups', 'timestamp-query'] as const;

export async function openDevice(options: DeviceOptions = {}): Promise<GpuContext> {
  const gpu = options.gpu ?? globalThis.navigator?.gpu;
  if (!gpu) {
    throw new WebGPUUnavailableError(
      'This environment has no WebGPU (navigator.gpu is missing). In a browser: use a current Chrome, Edge, Safari or Firefox over https or localhost. In Node: pass `gpu` from "shaderloom/node".',
    );
  }
  const adapter = await gpu.requestAdapter({ powerPreference: 'high-performance' });
  if (!adapter) {
    throw new WebGPUUnavailableError(
      'WebGPU is here but found no adapter. Check that the graphics driver is installed and that the browser has not blocked it (chrome://gpu).',
    );
  }
  const features = WANTED_FEATURES.filter((f) => adapter.features.has(f));
  const device = await adapter.requestDevice({
    requiredFeatures: features as GPUFeatureName[],
    requiredLimits: offeredLimits(adapter.limits),
  });
  return createContext(device, adapter.info, traitsOf(device, adapter.info, options));
}

/** All limits that the adapter offers, so that big weights need fewer parts. */
function offeredLimits(limits: GPUSupportedLimits): Record<string, number> {
  const offered: Record<string, number> = {};
  for (const key in limits) {
    const value = limits[key as keyof GPUSupportedLimits];
    if (typeof value === 'number') offered[key] = value;
  }
  return offered;
}

function traitsOf(device: GPUDevice, info: GPUAdapterInfo, options: DeviceOptions): DeviceTraits {
  return {
    f16: device.features.has('shader-f16') && options.f16 !== false,
    subgroups: device.features.has('subgroups') && options.subgroups !== false,
    subgroupMinSize: info.subgroupMinSize ?? 4,
    subgroupMaxSize: info.subgroupMaxSize ?? 128,
    maxBindingBytes: Math.min(device.limits.maxStorageBufferBindingSize, device.limits.maxBufferSize),
    maxWorkgroupBytes: device.limits.maxComputeWorkgroupStorageSize,
    maxWorkgroupInvocations: device.limits.maxComputeInvocationsPerWorkgroup,
    maxGridSize: device.limits.maxComputeWorkgroupsPerDimension,
  };
}

function createContext(device: GPUDevice, info: GPUAdapterInfo, traits: DeviceTraits): GpuContext {
  const buffers = createBufferPool(device);
  let fault: ShaderloomError | undefined;
  let isDisposed = false;
  device.onuncapturederror = (event) => {
    fault ??= new ShaderloomError(`The GPU reported an error: ${event.error.message}`);
  };
  const lost = new Promise<DeviceLostError>((resolve) => {
    device.lost.then((reason) => {
      if (isDisposed) return;
      const error = new DeviceLostError(
        `The GPU device was lost (${reason.message || reason.reason}). Load the model again; a shorter context needs less memory.`,
      );
      fault = error;
      resolve(error);
    });
  });
  return {
    device,
    info: {
      vendor: info.vendor,
      architecture: info.architecture,
      description: info.description,
      isFallback: info.isFallbackAdapter ?? false,
    },
    traits,
    hasTimestamps: device.features.has('timestamp-query'),
    buffers,
    lost,
    throwIfFaulty() {
      if (fault) throw fault;
    },
    pipeline: createPipelineCache(device),
    dispose() {
      isDisposed = true;
      buffers.destroyAll();
      device.destroy();
    },
  };
}

function createPipelineCache(device: GPUDevice): GpuContext['pipeline'] {
  const cache = new Map<string, Promise<Pipeline>>();
  const waiting: (() => void)[] = [];
  let inFlight = 0;
  const compile = async (kernel: AssembledKernel, source: ShaderSource, label: string): Promise<Pipeline> => {
    if (inFlight >= COMPILE_WINDOW) await new Promise<void>((go) => waiting.push(go));
    inFlight++;
    try {
      return await createPipeline(device, kernel, source, label);
    } finally {
      inFlight--;
      waiting.shift()?.();
    }
  };
  const byCode = (source: ShaderSource, label: string): Promise<Pipeline> => {
    const kernel = assemble(source);
    let pipeline = cache.get(kernel.code);
    if (!pipeline) {
      pipeline = compile(kernel, source, label);
      cache.set(kernel.code, pipeline);
    }
    return pipeline;
  };
  // The layers of a model ask for the same few kernels hundreds of times; assembling one takes a third of a millisecond.
  const bySource = new Map<string, Promise<Pipeline>>();
  return (source, label) => {
    const key = sourceKey(source);
    let pipeline = bySource.get(key);
    if (!pipeline) {
      pipeline = byCode(source, label);
      bySource.set(key, pipeline);
    }
    return pipeline;
  };
}

async function createPipeline(
  device: GPUDevice,
  { code, origins }: AssembledKernel,
  source: ShaderSource,
  label: string,
): Promise<Pipeline> {
  device.pushErrorScope('validation');
  const module = device.createShaderModule({ label, code });
  const scope = device.popErrorScope();
  const { messages } = await module.getCompilationInfo();
  const errors = messages.filter((m) => m.type === 'error');
  if (errors.length > 0 || (await scope)) {
    const lines = code.split('\n');
    const details = errors.map(
      (m) => `${origins[m.lineNum - 1] ?? 'unknown'}: ${m.message}\n  ${lines[m.lineNum - 1]?.trim() ?? ''}`,
    );
    throw new ShaderCompileError(
      `Kernel ${label} does not compile on this device:\n${details.join('\n') || (await scope)?.message}`,
    );
  }
  const storage = Object.values(source.bindings).map(
    (b, i): GPUBindGroupLayoutEntry => ({
      binding: i + 1,
      visibility: GPUShaderStage.COMPUTE,
      buffer: { type: b.access === 'read_write' ? 'storage' : 'read-only-storage' },
    }),
  );
  const layout = device.createBindGroupLayout({
    label,
    entries: [{ binding: 0, visibility: GPUShaderStage.COMPUTE, buffer: { type: 'uniform' } }, ...storage],
  });
  try {
    const pipeline = await device.createComputePipelineAsync({
      label,
      layout: device.createPipelineLayout({ label, bindGroupLayouts: [layout] }),
      compute: { module, entryPoint: 'main' },
    });
    return { pipeline, layout, code };
  } catch (error) {
    throw new ShaderCompileError(
      `Kernel ${label} (${source.body.file}) was refused by this device: ${(error as Error).message}`,
      {
        cause: error,
      },
    );
  }
}
