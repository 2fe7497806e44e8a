/** @file The table of the batch as a part of kernels: rows.wgsl, and where a row's token comes from. */
import { type Binding, type Const, wgslFile } from '../../src/gpu/kernel.ts';
import { rowWords, sequencesBegin } from '../../src/graph/batch.ts';
import type { Tensor } from '../../src/graph/graph.ts';
import rowsText from './rows.wgsl?raw';
import tokensText from './tokens.wgsl?raw';

export const tokensFile = wgslFile('kernels/lib/tokens.wgsl', tokensText);

/** The part, constants and binding of rows.wgsl. */
export function batchRows(batch: Tensor): {
  part: ReturnType<typeof wgslFile>;
  consts: Record<string, Const>;
  binding: Binding;
} {
  return {
    part: wgslFile('kernels/lib/rows.wgsl', rowsText),
    consts: { row_words: rowWords(batch.graph.layout), sequences_begin: sequencesBegin(batch.graph.layout) },
    binding: { tensor: batch, type: 'u32' },
  };
}
