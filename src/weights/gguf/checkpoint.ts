/**
 * @file A model in one or several GGUF files, opened as a checkpoint: config, tokenizer and tensors by the names that Hugging Face
 * checkpoints have. Reads headers and no weights. It must not know models or the GPU.
 */
import { CorruptCheckpointError, SourceError, UnsupportedConfigError } from '../../errors.ts';
import { type ReadOptions, readRanges, type Source } from '../../sources/source.ts';
import { quoted } from '../json.ts';
import { widen } from '../pack.ts';
import type { Piece, StoredBlocks, TensorEntry } from '../stored-matrix.ts';
import { type BlockFormat, type BlockSection, blockFormats, packSection } from './blocks.ts';
import { architectureOf, configOf } from './config.ts';
import {
  type GgufHeader,
  type GgufTensor,
  type Metadata,
  MoreBytesNeeded,
  parseHeader,
} from './container.ts';
import { ROTARY_TENSORS, usualName } from './names.ts';
import { tokenizerFilesOf } from './tokenizer.ts';

/** Read of a file in the first request: holds the header of what has no tokenizer, and tells what a file is. */
const FIRST_READ_BYTES = 256 * 1024;
/** What is read at a time of a header that is longer. Those with a vocabulary have 5 to 10 MB. */
const NEXT_READ_BYTES = 4 * 1024 * 1024;
const MAX_HEADER_BYTES = 64 * 1024 * 1024;
/** Factors of rotary frequencies are one for every two values of a head. */
const MAX_ROTARY_BYTES = 16 * 1024;

type Part = GgufHeader & { file: string };

/** What a checkpoint has beside its source. */
export interface GgufCheckpoint {
  config: Record<string, unknown>;
  generationConfig: Record<string, unknown>;
  tensors: Map<string, TensorEntry>;
  totalBytes: number;
  made: Readonly<Record<string, Record<string, unknown>>>;
}

/**
 * @param file the file, or the first one of a split set
 * @throws SourceError when something cannot be read or is not there
 * @throws CorruptCheckpointError when a file contradicts itself
 * @throws UnsupportedConfigError for an architecture, a tokenizer or a type of tensors that is not read
 */
export async function openGguf(
  source: Source,
  file: string,
  options: ReadOptions = {},
): Promise<GgufCheckpoint> {
  const first = await readPart(source, file, options);
  const parts = [first, ...(await readOtherParts(source, first, options))];
  const where = at(source, file);
  const { metadata } = first;
  const architecture = architectureOf(metadata, where);
  const all = parts.flatMap(({ file, tensors }) => tensors.map((tensor) => ({ ...tensor, file })));
  const rotary = await readRotary(source, all, options);
  const tensors = byUsualName(
    all.filter(({ name }) => !ROTARY_TENSORS.includes(name)),
    architecture,
    where,
  );
  const { tokenizer, tokenizerConfig, generationConfig } = tokenizerFilesOf(metadata, where);
  const [vocabSize = 0] = tensors.get('model.embed_tokens.weight')?.shape ?? [];
  return {
    config: configOf(metadata, { has: (name) => tensors.has(name), vocabSize, rotary }, where),
    generationConfig,
    tensors,
    totalBytes: all.reduce((sum, { begin, end }) => sum + end - begin, 0),
    made: { 'tokenizer.json': tokenizer, 'tokenizer_config.json': tokenizerConfig },
  };
}

async function readPart(source: Source, file: string, options: ReadOptions): Promise<Part> {
  const where = at(source, file);
  const start = await source.readStart(file, FIRST_READ_BYTES, options);
  if (!start) throw new SourceError(`${where}: there is no such file. Check its name.`);
  let { bytes } = start;
  const { size } = start;
  for (;;) {
    try {
      return { ...parseHeader(bytes, size, where), file };
    } catch (error) {
      if (!(error instanceof MoreBytesNeeded)) throw error;
    }
    if (bytes.length >= MAX_HEADER_BYTES) {
      throw new CorruptCheckpointError(
        `${where}: its header has more than ${MAX_HEADER_BYTES} bytes, far more than any vocabulary takes. Download the file again.`,
      );
    }
    const wanted = Math.max(NEXT_READ_BYTES, 2 * bytes.length);
    // Not `stream`: a store would keep the whole file first.
    const longer = (await source.readStart(file, wanted, options))?.bytes ?? bytes;
    if (longer.length === bytes.length) {
      throw new CorruptCheckpointError(
        `${where}: the file ends at byte ${bytes.length}, within its header: it is truncated. Download it again.`,
      );
    }
    bytes = longer;
  }
}

/** Files are numbered from 1, in themselves from 0. */
const partName = (file: string, number: number): string =>
  file.replace(/-\d{5}-of-/, `-${String(number).padStart(5, '0')}-of-`);

async function readOtherParts(source: Source, first: Part, options: ReadOptions): Promise<Part[]> {
  const where = at(source, first.file);
  const count = numberOf(first.metadata, 'split.count') ?? 1;
  if (count <= 1) return [];
  const number = numberOf(first.metadata, 'split.no');
  if (number !== 0) {
    throw new SourceError(
      `${where}: this is part ${Number(number) + 1} of ${count}. Give the first one, ${partName(first.file, 1)}.`,
    );
  }
  if (!new RegExp(`-00001-of-${String(count).padStart(5, '0')}\\.gguf$`).test(first.file)) {
    throw new SourceError(
      `${where}: this is the first of ${count} parts; wanted a name that ends with -00001-of-${String(count).padStart(5, '0')}.gguf, so that the others are found.`,
    );
  }
  const others: Part[] = [];
  for (let n = 2; n <= count; n++) {
    const file = partName(first.file, n);
    const part = await readPart(source, file, options);
    const [no, of] = ['split.no', 'split.count'].map((key) => numberOf(part.metadata, key));
    if (no !== n - 1 || of !== count) {
      throw new CorruptCheckpointError(
        `${at(source, file)}: it says that it is part ${Number(no) + 1} of ${of}, wanted part ${n} of ${count}. Do all parts come from one download? Get them again.`,
      );
    }
    others.push(part);
  }
  const wanted = numberOf(first.metadata, 'split.tensors.count');
  const found = [first, ...others].reduce((sum, { tensors }) => sum + tensors.length, 0);
  if (wanted !== undefined && wanted !== found) {
    throw new CorruptCheckpointError(
      `${where}: its ${count} parts have ${found} tensors, wanted ${wanted}. Download all of them again.`,
    );
  }
  return others;
}

function numberOf(metadata: Metadata, key: string): number | undefined {
  const found = metadata.get(key);
  return typeof found === 'number' ? found : undefined;
}

type PlacedTensor = GgufTensor & { file: string };

/** The lists of factors of rotary frequencies, by the tensor's name without `.weight`. */
async function readRotary(
  source: Source,
  tensors: readonly PlacedTensor[],
  options: ReadOptions,
): Promise<Record<string, number[]>> {
  const found: Record<string, number[]> = {};
  for (const { name, file, dtype, begin, end } of tensors) {
    if (!ROTARY_TENSORS.includes(name)) continue;
    if (dtype !== 'F32' || end - begin > MAX_ROTARY_BYTES) {
      throw new CorruptCheckpointError(
        `${at(source, file)}: ${name} has ${end - begin} bytes of ${dtype}, wanted a short list in F32. Download the file again.`,
      );
    }
    const bytes = await readRanges(source, file, [{ begin, end }], options);
    found[name.replace(/\.weight$/, '')] = [...widen('F32', bytes)];
  }
  return found;
}

function byUsualName(
  all: readonly PlacedTensor[],
  architecture: string,
  where: string,
): Map<string, TensorEntry> {
  const tensors = new Map<string, TensorEntry>();
  for (const tensor of all) {
    // The module that predicts the token after next.
    if (/^blk\.\d+\.nextn\./.test(tensor.name)) continue;
    const name = usualName(tensor.name, architecture);
    if (name === undefined) {
      throw new UnsupportedConfigError(
        `${where}: it has the tensor ${quoted(tensor.name)}, which no ${architecture} has that runs here. Choose another model.`,
      );
    }
    if (tensors.has(name)) {
      throw new CorruptCheckpointError(
        `${where}: it has the tensor ${quoted(tensor.name)} twice. Download it again.`,
      );
    }
    const { dtype } = tensor;
    const blocks =
      dtype === 'F32' || dtype === 'F16' || dtype === 'BF16' ? undefined : storedAs(blockFormats[dtype]);
    tensors.set(name, { ...tensor, name, shape: usualShape(name, tensor.shape), blocks });
  }
  return tensors;
}

/** Matrices of heads stand one below the other; the gate of the shared expert is a matrix of one row. */
function usualShape(name: string, shape: readonly number[]): number[] {
  if (name.endsWith('.shared_expert_gate.weight') && shape.length === 1) return [1, shape[0]!];
  const [heads, rows, cols] = shape;
  const isOfHeads = /\.(embed_q|unembed_out)\.weight$/.test(name) && shape.length === 3;
  return isOfHeads ? [heads! * rows!, cols!] : [...shape];
}

/** Every section takes its share of the stored blocks. */
const storedAs = (format: BlockFormat): StoredBlocks => ({
  format,
  pieces: (tensor) => format.blockSections.map((section) => pieceOf(tensor, format, section)),
});

function pieceOf(tensor: TensorEntry, { storedValues }: BlockFormat, section: BlockSection): Piece {
  const rowBlocks = tensor.shape.at(-1)! / storedValues;
  return {
    lies: 'rows',
    tensor,
    section: section.name,
    rowsPerStored: 1,
    pack: (bytes, numRows, rowBytes) => packSection(section, bytes, numRows, rowBlocks, rowBytes),
  };
}

/** A file as messages name it. */
function at(source: Source, file: string): string {
  return `${file} of ${source.label}`;
}
