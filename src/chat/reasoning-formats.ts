/**
 * @file How models write their thinking: the tags around it and what ends it early, as a closed table. Which format a model writes
 * is found in its chat template. Knows no messages and no tokens.
 */

export interface ReasoningFormat {
  readonly open: string;
  readonly close: string;
  /** Closes a block that the prompt has opened, where the model is not to think. */
  readonly closeOpened: string;
  /** Closes a block that the model has just opened, where it is not to think. */
  readonly closeEmpty: string;
  /** Closes a block at its budget, with the sentence that the model was trained on, if there is one. */
  readonly closeSpent: string;
}

export type ReasoningKind = 'think' | 'magistral' | 'seed';

/** In the order in which a template is searched for their tags. */
export const reasoningFormats: Readonly<Record<ReasoningKind, ReasoningFormat>> = {
  /** Qwen3, QwQ, DeepSeek-R1 and V3.1. The sentence: Qwen3 technical report, 4.3, with the line breaks of Qwen's own code. */
  think: {
    open: '<think>',
    close: '</think>',
    closeOpened: '\n</think>\n\n',
    closeEmpty: '\n\n</think>\n\n',
    closeSpent:
      '\n\nConsidering the limited time by the user, I have to give the solution based on the thinking directly now.\n</think>\n\n',
  },
  /** Magistral since 2507 (its model card). The tags are control tokens, and no sentence is published. */
  magistral: {
    open: '[THINK]',
    close: '[/THINK]',
    closeOpened: '[/THINK]',
    closeEmpty: '[/THINK]',
    closeSpent: '[/THINK]',
  },
  /** Seed-OSS (its README, where the sentence is). Its template opens a block only with a note on a budget of 0. */
  seed: {
    open: '<seed:think>',
    close: '</seed:think>',
    closeOpened: '</seed:cot_budget_reflect>\n</seed:think>\n',
    closeEmpty: '</seed:think>\n',
    closeSpent:
      '\n<seed:cot_budget_reflect>I have exhausted my token budget, and now I will start answering the question.</seed:cot_budget_reflect>\n</seed:think>\n',
  },
};

/** The format of a model with this chat template. Some models think although their template has no tags: then in `<think>`. */
export function reasoningFormatOf(template: string): ReasoningFormat {
  const formats = Object.values(reasoningFormats);
  const isMeant = ({ open, close }: ReasoningFormat) => template.includes(open) || template.includes(close);
  return formats.find(isMeant) ?? reasoningFormats.think;
}
