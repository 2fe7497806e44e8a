/** @file The library itself as a contender. */
import { samplingParams } from '../../src/runtime/load/generation-config.ts';
import { openModel, startModel } from '../../src/runtime/load/load.ts';
import type { Contender, ContenderOptions } from './contender.ts';
import { checkpointOf, int4Model } from './int4-model.ts';

/** Rows of a step when logits are looked at. */
const CHECKED_ROWS = 64;

export async function startShaderloom(
  { config, contextLength }: ContenderOptions,
  gpu?: GPU,
): Promise<Contender> {
  const options = { weights: 'int4', contextLength, ...(gpu && { gpu }) } as const;
  const { session, info } = await startModel(
    await openModel(checkpointOf(config, int4Model(config)), options),
    options,
  );
  const lossy = info.conversionErrors.filter(({ maxRelativeError }) => maxRelativeError > 0);
  if (lossy.length > 0)
    throw new Error(
      `The contenders' weights differ: conversion was to be exact, and lost something of ${lossy.map(({ tensors, format }) => `${tensors} as ${format}`).join(', ')}. Does int4-model.ts still fit the formats of weights: 'int4'?`,
    );
  const sampling = samplingParams({ temperature: 0 }, info.samplingDefaults);
  let ids: number[] = [];

  async function answer(maxTokens: number): Promise<number[]> {
    const tokens: number[] = [];
    for await (const id of session.generate(ids, { sampling, maxTokens, accept: () => true }))
      tokens.push(id);
    // All of these but the last are in the cache; the next call computes that one first.
    ids = [...ids, ...tokens];
    return tokens;
  }

  return {
    notes: `layers in int4, embedding and head in int8; ${info.features.join(', ') || 'no optional features'}`,
    weightBytes: info.weightBytes,
    kvBytes: info.kvBytes,
    isCounted: true,
    async prefill(prompt) {
      ids = [...prompt];
      return (await answer(1))[0]!;
    },
    decode: answer,
    async logits(prompt) {
      const found = await session.inspect(prompt, ['lm_head'], CHECKED_ROWS);
      return found.get('lm_head')!.data.subarray(-(config.vocab_size as number));
    },
  };
}
