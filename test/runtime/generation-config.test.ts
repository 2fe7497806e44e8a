/** What a checkpoint says of sampling and stopping is understood, or refused when the model is opened. */
import { describe, expect, it } from 'vitest';
import { UnsupportedConfigError } from '../../src/errors.ts';
import { samplingDefaults, stopTokensOf } from '../../src/runtime/load/generation-config.ts';

const neutral = {
  temperature: 1,
  topK: 0,
  topP: 1,
  minP: 0,
  repetitionPenalty: 1,
  presencePenalty: 0,
  frequencyPenalty: 0,
  maxTokens: undefined,
};

describe('generation_config.json', () => {
  it.each<[Record<string, unknown>, object]>([
    [{}, {}],
    [
      { temperature: 0.6, top_k: 20, top_p: 0.95 },
      { temperature: 0.6, topK: 20, topP: 0.95 },
    ],
    [{ top_k: -1 }, { topK: 0 }],
    [{ do_sample: false, temperature: 0.7 }, { temperature: 0 }],
    [{ do_sample: null, temperature: null, max_new_tokens: null }, {}],
    [{ max_new_tokens: 2048, transformers_version: '4.51.0' }, { maxTokens: 2048 }],
  ])('%j is understood', (json, wanted) => {
    expect(samplingDefaults(json)).toEqual({ ...neutral, ...wanted });
  });

  it.each<[Record<string, unknown>, RegExp]>([
    [{ min_p: 1.5 }, /min_p is 1\.5, wanted a number from 0 to 1/],
    [{ top_p: '0.9' }, /top_p is "0\.9", wanted a number/],
    [{ top_k: -2 }, /top_k is -2, wanted an integer from 0/],
    [{ repetition_penalty: 0 }, /repetition_penalty is 0/],
    [{ temperature: -1 }, /temperature is -1/],
    [{ do_sample: 'no' }, /do_sample is "no", wanted true or false/],
    [{ max_new_tokens: 0 }, /max_new_tokens is 0, wanted a positive integer/],
  ])('%j is refused by the name of the file and the key', (json, message) => {
    expect(() => samplingDefaults(json)).toThrow(UnsupportedConfigError);
    expect(() => samplingDefaults(json)).toThrow(/^generation_config\.json: /);
    expect(() => samplingDefaults(json)).toThrow(message);
  });
});

describe('eos_token_id', () => {
  it('of both configs, alone or as lists, ends answers', () => {
    expect(stopTokensOf({ eos_token_id: 7 }, { eos_token_id: [9, 7, 8] })).toEqual([7, 9, 8]);
    expect(stopTokensOf({}, { eos_token_id: null })).toEqual([]);
  });

  it.each([['</s>'], [[7, '</s>']], [-1], [1.5], [[[7]]]])(
    '%j is refused by the name of the file',
    (found) => {
      expect(() => stopTokensOf({}, { eos_token_id: found })).toThrow(UnsupportedConfigError);
      expect(() => stopTokensOf({}, { eos_token_id: found })).toThrow(
        /^generation_config\.json: eos_token_id is/,
      );
      expect(() => stopTokensOf({ eos_token_id: found }, {})).toThrow(/^config\.json: eos_token_id is/);
    },
  );
});
