/** @file Gives Node the same `navigator.gpu` a browser has, so GPU tests are one file for both. */
import { create, globals } from 'webgpu';

Object.assign(globalThis, globals);
// Node has its own `navigator` from 21 on. Dawn's instance must outlive every adapter, so it hangs on the global.
const navigator = globalThis.navigator ?? {};
Object.defineProperty(navigator, 'gpu', { value: create([]), configurable: true });
Object.defineProperty(globalThis, 'navigator', { value: navigator, configurable: true });
