import { pathToFileURL } from 'node:url';
import { gpu } from '../../src/node.ts';
import { SHAPES } from '../speed/shapes.ts';
import { countGpuCalls, countsSince } from './gpu-counts.ts';
import { copySharedWrites, type Ort, startOnnxruntime } from './onnxruntime.ts';
const dawn = await gpu();
Object.defineProperty(globalThis, 'navigator', { value: { gpu: dawn }, configurable: true });
copySharedWrites();
const counter = countGpuCalls();
const [, , float, layers] = process.argv;
const config = { ...SHAPES.S, num_hidden_layers: Number(layers ?? 2) };
const ids = Array.from({ length: 512 }, (_, i) => (i * 7919) % 8192);
const fake = { requestAdapter: async () => ({ features: new Set(float === 'f16' ? ['shader-f16'] : []) }) } as unknown as GPU;
const ort = (await import(/* @vite-ignore */ pathToFileURL('bench/peers/node_modules/onnxruntime-web/dist/ort.webgpu.bundle.min.mjs').href)) as Ort;
const GPUD = GPUDevice.prototype as any;
for (const m of ['createComputePipeline', 'createComputePipelineAsync', 'createShaderModule']) {
  const o = GPUD[m];
  GPUD[m] = function (d: any) { const t = performance.now(); const r = o.call(this, d); if (m !== 'createShaderModule' || process.env.CODE) console.log(m, d.label, (performance.now() - t).toFixed(0)); return r; };
}
const peer = await startOnnxruntime(ort, fake, { config, contextLength: 640 });
for (const n of [1, 8, 32, 32, 128]) {
  const cpu = process.cpuUsage(); const w = performance.now(); const c = counter.counts();
  await peer.prefill(ids.slice(0, n));
  const d = process.cpuUsage(cpu);
  console.log('prefill', n, 'cpu ms', (d.user + d.system) / 1000, 'wall', performance.now() - w, JSON.stringify(countsSince(counter.counts(), c)));
}
process.exit(0);
