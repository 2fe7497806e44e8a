/** @file Every op and its variants: the table that programs choose from. */
import type { KernelTable } from '../src/gpu/kernel.ts';
import { attend } from './attention/attend.ts';
import { attendMerge } from './attention/attend-merge.ts';
import { attendSplit } from './attention/attend-split.ts';
import { add, lastRow, swiglu } from './elementwise/elementwise.ts';
import { embed } from './embed/embed.ts';
import { appendKv } from './heads/append-kv.ts';
import { prepareHeads } from './heads/prepare-heads.ts';
import { rope } from './heads/rope.ts';
import { linear } from './linear/linear.ts';
import { rmsNorm } from './norm/rms-norm.ts';
import { samplePick } from './sample/sample-pick.ts';
import { sampleScale } from './sample/sample-scale.ts';

export const kernels: KernelTable = {
  embed,
  rmsNorm,
  linear,
  rope,
  appendKv,
  prepareHeads,
  attend,
  attendSplit,
  attendMerge,
  swiglu,
  add,
  lastRow,
  sampleScale,
  samplePick,
};
