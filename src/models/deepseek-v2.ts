/** @file DeepSeek-V2 and V2-Lite: V3's layers, with experts chosen by a softmax over all, by themselves or group by group. */
import type { ConfigReader } from './config.ts';
import { type DeepseekConfig, deepseekConfig, forwardDeepseek } from './deepseek-v3.ts';
import { defineModel } from './model.ts';

export const deepseekV2 = defineModel<DeepseekConfig>({
  architectures: ['DeepseekV2ForCausalLM'],
  modelType: 'deepseek_v2',
  config: (json) => deepseekConfig(json, router),
  forward: forwardDeepseek,
});

function router(read: ConfigReader) {
  read.expect('scoring_func', 'softmax');
  // DeepSeek's own code and transformers differ in what true means here, and no published checkpoint has it.
  read.expect('norm_topk_prob', false);
  const method = read.choice('topk_method', { greedy: 'greedy', group_limited_greedy: 'groups' }, 'greedy');
  const more = { scoring: 'softmax', groupBest: 1, hasRouterBias: false } as const;
  // Groups are told of, but mean nothing, where experts are chosen from all.
  return method === 'groups' ? more : { ...more, nGroup: 1, topkGroup: 1 };
}
