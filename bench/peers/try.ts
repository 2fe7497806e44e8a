import { gpu } from '../../src/node.ts';
import { seededRandom } from '../../test/seeded-random.ts';
import { SHAPES } from '../speed/shapes.ts';
import { countGpuCalls, countsSince } from './gpu-counts.ts';
import { checkpointOf, int4Model } from './int4-model.ts';
import { startOnnxruntime } from './onnxruntime.ts';
import { openModel, startModel } from '../../src/engine/load.ts';
import { pathToFileURL } from 'node:url';
const dawn = await gpu();
Object.defineProperty(globalThis, 'navigator', { value: { gpu: dawn, userAgent: 'node' }, configurable: true });
const write = GPUQueue.prototype.writeBuffer;
GPUQueue.prototype.writeBuffer = function (buffer: GPUBuffer, at: number, data: any, from?: number, size?: number) {
  return data.buffer instanceof SharedArrayBuffer ? write.call(this, buffer, at, data.slice(from ?? 0, size === undefined ? undefined : (from ?? 0) + size)) : write.call(this, buffer, at, data, from, size);
} as any;
const counter = countGpuCalls();
const [, , float, level, shared, layers] = process.argv;
const config = { ...SHAPES.S, num_hidden_layers: Number(layers ?? 2) };
const contextLength = 640;
const random = seededRandom(5);
const ids = Array.from({ length: 512 }, () => Math.floor(random() * 8192));
const t0 = performance.now();
const source = checkpointOf(config, int4Model(config));
const model = await startModel(await openModel(source, { weights: 'int4', contextLength }), { weights: 'int4', contextLength, gpu: dawn });
console.log('ours loaded', performance.now() - t0);
const t1 = performance.now();
const peer = await startOnnxruntime({ config, contextLength, float: float as never, accuracyLevel: Number(level) as never, isShared: shared === '1',
  ort: async () => import(/* @vite-ignore */ pathToFileURL('bench/peers/node_modules/onnxruntime-web/dist/ort.webgpu.bundle.min.mjs').href) });
console.log('peer loaded', performance.now() - t1);
for (const n of [1, 8, 9, 32, 128]) {
  const a = ids.slice(0, n);
  const theirs = await peer.logits!(a).catch((e) => { console.log(e.stack); process.exit(1); });
  const logits = (await model.session.inspect(a, ['lm_head'], 64)).get('lm_head')!;
  const mine = logits.data.subarray((n - 1) * 8192, n * 8192);
  let max = 0, sq = 0;
  mine.forEach((v, i) => { max = Math.max(max, Math.abs(v - theirs[i]!)); sq += v * v; });
  console.log(n, 'max error', max, 'rms', Math.sqrt(sq / 8192), theirs.slice(0, 4), mine.slice(0, 4));
}
for (const n of [128]) {
  await peer.prefill(ids.slice(0, n)); await peer.decode(2);
  let cpu = process.cpuUsage(); let w = performance.now(); let c = counter.counts();
  await peer.prefill(ids.slice(0, n));
  let d = process.cpuUsage(cpu);
  console.log('prefill', n, 'cpu ms per token', (d.user + d.system) / 1000 / n, 'wall', (performance.now() - w) / n, countsSince(counter.counts(), c));
  cpu = process.cpuUsage(); w = performance.now(); c = counter.counts();
  await peer.decode(8);
  d = process.cpuUsage(cpu);
  console.log('decode cpu ms per token', (d.user + d.system) / 1000 / 8, 'wall', (performance.now() - w) / 8, countsSince(counter.counts(), c), counter.liveBytes());
}
process.exit(0);
