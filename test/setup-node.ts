/** @file Gives Node the same `navigator.gpu` a browser has, so GPU tests are one file for both. */
import { create, globals } from 'webgpu';

Object.assign(globalThis, globals);
Object.defineProperty(globalThis.navigator, 'gpu', { value: create([]), configurable: true });
