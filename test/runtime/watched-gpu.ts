/** @file GPUs whose buffers are counted from outside the library, and GPUs with little memory. */

/** Bytes of the buffers that WebGPU itself has made and not destroyed, and the most there were, while `run` runs. */
export async function watchBuffers<T>(
  run: (live: { bytes: number; peak: number }) => Promise<T>,
): Promise<T> {
  const { createBuffer } = GPUDevice.prototype;
  const { destroy } = GPUBuffer.prototype;
  const sizes = new Map<GPUBuffer, number>();
  const live = { bytes: 0, peak: 0 };
  GPUDevice.prototype.createBuffer = function (this: GPUDevice, descriptor) {
    const buffer = createBuffer.call(this, descriptor);
    sizes.set(buffer, buffer.size);
    live.bytes += buffer.size;
    live.peak = Math.max(live.peak, live.bytes);
    return buffer;
  };
  GPUBuffer.prototype.destroy = function (this: GPUBuffer) {
    live.bytes -= sizes.get(this) ?? 0;
    sizes.delete(this);
    return destroy.call(this);
  };
  try {
    return await run(live);
  } finally {
    GPUDevice.prototype.createBuffer = createBuffer;
    GPUBuffer.prototype.destroy = destroy;
  }
}

/**
 * The adapter that is here, as one that is no software and whose device has so much memory for probes: from there on every
 * buffer comes with an error that WebGPU itself has made, about a texture that nothing can hold.
 */
export function gpuWith(memoryBytes: number | (() => number)): GPU {
  const { gpu } = navigator;
  const limited = (device: GPUDevice): GPUDevice => {
    const { createBuffer } = device;
    const sizes = new Map<GPUBuffer, number>();
    device.createBuffer = (descriptor) => {
      const used = [...sizes.values()].reduce((a, b) => a + b, 0);
      const buffer = createBuffer.call(device, descriptor);
      if (used + descriptor.size > (typeof memoryBytes === 'number' ? memoryBytes : memoryBytes())) {
        refuse(device);
        return buffer;
      }
      sizes.set(buffer, descriptor.size);
      const { destroy } = buffer;
      buffer.destroy = () => {
        sizes.delete(buffer);
        return destroy.call(buffer);
      };
      return buffer;
    };
    return device;
  };
  return {
    async requestAdapter(options?: GPURequestAdapterOptions) {
      const adapter = (await gpu.requestAdapter(options))!;
      const info = { vendor: 'test', architecture: '', description: '', isFallbackAdapter: false };
      return {
        features: adapter.features,
        limits: adapter.limits,
        info,
        requestDevice: async (wanted?: GPUDeviceDescriptor) => limited(await adapter.requestDevice(wanted)),
      };
    },
  } as unknown as GPU;
}

function refuse(device: GPUDevice): void {
  const { maxTextureDimension2D: side, maxTextureArrayLayers: layers } = device.limits;
  const usage = GPUTextureUsage.COPY_SRC;
  device.createTexture({ size: [side, side, layers], format: 'rgba32float', usage }).destroy();
}
