/** @file The smallest use of the library: loads the model beside this page and streams one answer. */
import { loadModel } from '../../src/index.ts';

const output = document.querySelector('output')!;
try {
  const model = await loadModel(new URL('../models/tiny-qwen3/', location.href));
  const stream = model.chat([{ role: 'user', content: 'What is 27 + 58?' }]);
  for await (const { reasoning, content } of stream) output.append(reasoning ?? content ?? '');
  const { timings } = await stream.result;
  output.append(`\n\n${Math.round(timings.decodeTokensPerSecond)} tokens/s`);
  model.dispose();
} catch (error) {
  output.append(String(error));
}
