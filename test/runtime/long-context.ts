/** @file Checkpoints that say they were made for more tokens than they were. */
import type { Source } from '../../src/sources/source.ts';

export const withLongContext = (source: Source, maxPositions: number): Source => ({
  label: source.label,
  file: source.file,
  readStart: (...given) => source.readStart(...given),
  stream: (...given) => source.stream(...given),
  async readFile(name, options) {
    const bytes = await source.readFile(name, options);
    if (name !== 'config.json' || !bytes) return bytes;
    const config = JSON.parse(new TextDecoder().decode(bytes));
    const longest = Math.max(maxPositions, config.max_position_embeddings);
    return new TextEncoder().encode(JSON.stringify({ ...config, max_position_embeddings: longest }));
  },
});
