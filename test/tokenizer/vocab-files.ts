/** @file vocab.json and merges.txt as they would stand beside a tokenizer.json. */

interface TokenizerJson {
  added_tokens: { content: string }[];
  model: { vocab: Record<string, number>; merges: unknown[] };
}

/** Added tokens are not among them. */
export function vocabFilesOf({ model, added_tokens: added }: TokenizerJson): {
  vocab: Record<string, number>;
  merges: string;
} {
  const contents = new Set(added.map(({ content }) => content));
  const vocab = Object.fromEntries(Object.entries(model.vocab).filter(([token]) => !contents.has(token)));
  const rules = model.merges.map((rule) => (Array.isArray(rule) ? rule.join(' ') : rule));
  return { vocab, merges: ['#version: 0.2', ...rules, ''].join('\n') };
}
