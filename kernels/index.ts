/** @file Every op of a step and its variants: the table that programs choose from. */
import type { KernelTable } from '../src/gpu/kernel.ts';
import { attend } from './attention/attend.ts';
import { attendMerge } from './attention/attend-merge.ts';
import { attendSplit } from './attention/attend-split.ts';
import { add, gate, lastRow, sigmoidGate } from './elementwise/elementwise.ts';
import { embed } from './embed/embed.ts';
import { combineExperts } from './experts/combine-experts.ts';
import { expertLinear } from './experts/expert-linear.ts';
import { groupEntries } from './experts/group-entries.ts';
import { route } from './experts/route.ts';
import { appendKv } from './heads/append-kv.ts';
import { mixHeads } from './heads/mix-heads.ts';
import { prepareHeads } from './heads/prepare-heads.ts';
import { rope } from './heads/rope.ts';
import { headLinear } from './latent/head-linear.ts';
import { prepareLatent } from './latent/prepare-latent.ts';
import { linear } from './linear/linear.ts';
import { rmsNorm } from './norm/rms-norm.ts';
import { samplePick } from './sample/sample-pick.ts';
import { sampleScale } from './sample/sample-scale.ts';

/** All but what is loaded when it is first asked for. */
export const kernels: Required<Omit<KernelTable, 'topLogits' | 'tokenLogprob'>> = {
  embed,
  rmsNorm,
  linear,
  rope,
  mixHeads,
  appendKv,
  prepareHeads,
  attend,
  attendSplit,
  attendMerge,
  route,
  groupEntries,
  expertLinear,
  combineExperts,
  sigmoidGate,
  prepareLatent,
  headLinear,
  gate,
  add,
  lastRow,
  sampleScale,
  samplePick,
};
