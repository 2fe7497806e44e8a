/**
 * @file Asks Dawn for a WebGPU device and prints what it got as JSON (`null` for nothing). Run as a child process of
 * adapter.mjs, since a broken driver may crash or hang whoever asks it.
 */
import { create } from 'webgpu';

const gpu = create([]);
const adapter = await gpu.requestAdapter();
const device = await adapter?.requestDevice();
const info = adapter && { description: adapter.info.description, isSoftware: adapter.info.isFallbackAdapter };
console.log(JSON.stringify((device && info) ?? null));
// Dawn keeps the process alive as long as the instance lives.
process.exit(0);
