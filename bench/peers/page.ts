/** @file Runs in the page that `npm run bench -- --peers` opens. */
import type { ContenderHost } from './contender.ts';
import { hostContenders } from './host.ts';
import { importPackage } from './import-package.mjs';
import { type Ort, startOnnxruntime } from './onnxruntime.ts';
import { startShaderloom } from './shaderloom.ts';
import { startWllama, type WllamaPackage } from './wllama.ts';

declare global {
  interface Window {
    peersBench: ContenderHost;
  }
}

const PACKAGES = '/bench/peers/node_modules';
const ORT = `${PACKAGES}/onnxruntime-web/dist/ort.webgpu.bundle.min.mjs`;
const WLLAMA = `${PACKAGES}/@wllama/wllama/esm`;

window.peersBench = hostContenders({
  shaderloom: (options) => startShaderloom(options),
  'onnxruntime-web': async (options) =>
    startOnnxruntime((await importPackage(ORT)) as Ort, navigator.gpu, options),
  wllama: async (options) =>
    startWllama(
      (await importPackage(`${WLLAMA}/index.js`)) as WllamaPackage,
      `${WLLAMA}/wasm/wllama.wasm`,
      options,
    ),
});
