/**
 * @file A checkpoint folder as Hugging Face publishes it: config.json, generation_config.json and one or many
 * safetensors files -> a manifest of tensors. It must not know models, weight formats or the GPU.
 */
import { CorruptCheckpointError, SourceError } from '../errors.ts';
import type { FileStart, ReadOptions, Source } from '../sources/source.ts';
import { parseJsonObject, quoted } from './json.ts';
import { LENGTH_BYTES, parseHeader, parseIndex, readHeaderLength } from './safetensors.ts';
import type { TensorEntry } from './stored-matrix.ts';

export type { StoredDtype, TensorEntry } from './stored-matrix.ts';

/** What matrices are stored in that are not quantised. */
const PLAIN_DTYPES: readonly string[] = ['BF16', 'F16', 'F32', 'F64'];
const CONFIG_FILE = 'config.json';
const GENERATION_CONFIG_FILE = 'generation_config.json';
const SINGLE_FILE = 'model.safetensors';
const INDEX_FILE = 'model.safetensors.index.json';

/** Read of each shard in the first request: holds the whole header of most shards. */
const FIRST_READ_BYTES = 64 * 1024;
/** Tensors that may be in two shards: each is compared. */
const MAX_SHARED = 64;
/** Shards whose headers are read at once; browsers open six connections to a server. */
const NUM_PARALLEL_READS = 6;

export interface Checkpoint {
  source: Source;
  /** config.json. */
  config: Record<string, unknown>;
  /** generation_config.json; empty when there is none. */
  generationConfig: Record<string, unknown>;
  /** Every tensor by name, in the order of files and, within a file, of bytes. */
  tensors: Map<string, TensorEntry>;
  /** Bytes of all tensors. */
  totalBytes: number;
  /** Of a file that holds everything: what the small files of other checkpoints would say, by their names. */
  made?: Readonly<Record<string, Record<string, unknown>>>;
  /** Reads quantised matrices, where some may be. */
  quantised?: typeof import('./quantised.ts');
}

export interface OpenOptions extends ReadOptions {
  /** In place of the source's. */
  file?: string | undefined;
}

/**
 * Opens a checkpoint: reads the configs, the index and the headers of all shards, and no weights.
 * @throws SourceError when something cannot be read or is not there
 * @throws CorruptCheckpointError when the files contradict themselves or each other
 */
export async function openCheckpoint(
  source: Source,
  { file = source.file, signal }: OpenOptions = {},
): Promise<Checkpoint> {
  const options = { signal };
  const whole = (wanted: string): Promise<Checkpoint> => wholeFile(source, file, options, wanted);
  if (file !== undefined) return whole(CONFIG_FILE);
  // First and alone: where this cannot be read, asking for the rest tells nothing more.
  const config = await readJson(source, CONFIG_FILE, options);
  if (!config) return whole(CONFIG_FILE);
  const [generationConfig, index] = await Promise.all([
    readJson(source, GENERATION_CONFIG_FILE, options),
    source.readFile(INDEX_FILE, options),
  ]);
  // With an index, nobody asks for the single file that most sharded checkpoints lack: browsers log every 404.
  const entries = index
    ? await readIndexed(source, parseIndex(index, at(source, INDEX_FILE)), options)
    : await readUnindexed(source, options);
  if (!entries) return whole(SINGLE_FILE);
  const isQuantised =
    (config.quantization ?? config.quantization_config ?? undefined) !== undefined ||
    entries.some(({ dtype }) => !PLAIN_DTYPES.includes(dtype));
  return {
    source,
    config,
    generationConfig: generationConfig ?? {},
    tensors: byUsualName(entries, source),
    ...(isQuantised && { quantised: await import('./quantised.ts') }),
    totalBytes: entries.reduce((sum, { begin, end }) => sum + end - begin, 0),
  };
}

/** A checkpoint in one file, where there is one. `wanted`: what else could have been there. */
async function wholeFile(
  source: Source,
  asked: string | undefined,
  options: ReadOptions,
  wanted: string,
): Promise<Checkpoint> {
  const [{ chooseGguf }, { openGguf }] = await Promise.all([
    import('./gguf/choose.ts'),
    import('./gguf/checkpoint.ts'),
  ]);
  const file = await chooseGguf(source, asked, options);
  if (file === undefined) throw await missing(source, wanted, options);
  return { source, ...(await openGguf(source, file, options)) };
}

/** A small JSON object of a checkpoint (tokenizer_config.json), or undefined when there is no such file. */
export async function readJson(
  source: Source,
  name: string,
  options: ReadOptions = {},
): Promise<Record<string, unknown> | undefined> {
  const bytes = await source.readFile(name, options);
  return bytes && parseJsonObject(bytes, at(source, name));
}

/** Without what compilers and wrappers of models put before names. */
const unwrapped = (name: string): string =>
  name
    .replace(/^_orig_mod\./, '')
    .replace(/^language_model\./, '')
    .replace(/^model\.language_model\./, 'model.');

/**
 * Tensors by the names that causal language models have, `model.…` and `lm_head.…`: files of compiled or wrapped models have more before
 * them, those of a bare model (embeddings) lack `model.`.
 * @throws CorruptCheckpointError where two tensors would have one name
 */
function byUsualName(entries: readonly TensorEntry[], source: Source): Map<string, TensorEntry> {
  const bare = entries.map((tensor) => ({ tensor, name: unwrapped(tensor.name) }));
  const names = new Set(bare.map(({ name }) => name));
  const isBare =
    names.has('norm.weight') &&
    bare.some(({ name }) => name.startsWith('embed_tokens.')) &&
    !bare.some(({ name }) => name.startsWith('model.'));
  const tensors = new Map<string, TensorEntry>();
  for (const { tensor, name } of bare) {
    const usual = isBare && !name.startsWith('lm_head.') ? `model.${name}` : name;
    if (tensors.has(usual)) {
      throw new CorruptCheckpointError(
        `${source.label}: the tensors ${quoted(tensor.name)} and ${quoted(usual)} are the same one under two names. Remove one of them.`,
      );
    }
    tensors.set(usual, { ...tensor, name: usual });
  }
  return tensors;
}

/** The whole file; else the only one there is, or all shards of one; undefined where there is neither. */
async function readUnindexed(source: Source, options: ReadOptions): Promise<TensorEntry[] | undefined> {
  const start = await source.readStart(SINGLE_FILE, FIRST_READ_BYTES, options);
  if (start) return readTensors(source, SINGLE_FILE, start, options);
  const files = filesOfOneModel((await source.list?.(options)) ?? []);
  if (!files) return undefined;
  return [...(await readShards(source, files, options)).values()];
}

/** Of the files of a folder those that hold one model, if that is certain. */
function filesOfOneModel(names: readonly string[]): string[] | undefined {
  const files = names
    .filter((name) => /^[^/]+\.safetensors$/.test(name) && !name.startsWith('adapter_'))
    .sort();
  if (files.length === 1) return files;
  const shards = files.map((name) => /^(.+)-(\d+)-of-(\d+)\.safetensors$/.exec(name));
  const [first] = shards;
  const isWhole = shards.every((shard, i) => {
    const [, model, number, count] = shard ?? [];
    return model === first?.[1] && Number(number) === i + 1 && Number(count) === files.length;
  });
  return files.length > 0 && isWhole ? files : undefined;
}

/** A shard that an index names is not there. */
class MissingShardError extends CorruptCheckpointError {}

async function readIndexed(
  source: Source,
  fileOf: Map<string, string>,
  options: ReadOptions,
): Promise<TensorEntry[]> {
  const files = [...new Set(fileOf.values())].sort();
  let entries: Map<string, TensorEntry>;
  try {
    entries = await readShards(source, files, options, fileOf);
  } catch (error) {
    // The index of another download may lie beside a file that is whole.
    const whole =
      error instanceof MissingShardError
        ? await source.readStart(SINGLE_FILE, FIRST_READ_BYTES, options)
        : undefined;
    if (!whole) throw error;
    return readTensors(source, SINGLE_FILE, whole, options);
  }
  for (const [name, file] of fileOf) {
    const found = entries.get(name);
    // Some indexes name tensors that no file ever had, and that no model reads: whoever needs one will miss it.
    if (!found || found.file === file) continue;
    throw new CorruptCheckpointError(
      `${at(source, INDEX_FILE)}: tensor ${quoted(name)} should be in ${file}, and is in ${found.file}. ` +
        'Do index and shards come from the same download? Get both again.',
    );
  }
  return [...entries.values()];
}

/** The tensors of several files, by name; of one that two hold, that of the file where it should be. */
async function readShards(
  source: Source,
  files: readonly string[],
  options: ReadOptions,
  fileOf?: ReadonlyMap<string, string>,
): Promise<Map<string, TensorEntry>> {
  const shards = await mapInWindow(files, options, async (file, options) => {
    const start = await source.readStart(file, FIRST_READ_BYTES, options);
    return readTensors(source, file, start, options);
  });
  const entries = new Map<string, TensorEntry>();
  let numShared = 0;
  for (const tensor of shards.flat()) {
    const first = entries.get(tensor.name);
    if (first && (++numShared > MAX_SHARED || !(await isTheSame(source, first, tensor, options)))) {
      throw new CorruptCheckpointError(
        `${source.label}: tensor ${quoted(tensor.name)} is in ${first.file} and in ${tensor.file}, ${numShared > MAX_SHARED ? `as ${MAX_SHARED} others are` : 'with other values'}, so which one holds ` +
          "is anyone's guess. Download both again, or delete the shards of another download.",
      );
    }
    if (!first || fileOf?.get(tensor.name) === tensor.file) entries.set(tensor.name, tensor);
  }
  return entries;
}

/** Some tools save what two modules share in the shard of each. */
async function isTheSame(
  source: Source,
  first: TensorEntry,
  second: TensorEntry,
  options: ReadOptions,
): Promise<boolean> {
  const { haveSameBytes } = await import('./same-bytes.ts');
  return haveSameBytes(source, first, second, options);
}

async function readTensors(
  source: Source,
  file: string,
  start: FileStart | undefined,
  options: ReadOptions,
): Promise<TensorEntry[]> {
  const where = at(source, file);
  if (!start) {
    throw new MissingShardError(
      `${where}: there is no such file, although ${INDEX_FILE} names it. Download it into the same place.`,
    );
  }
  const jsonEnd = LENGTH_BYTES + readHeaderLength(start.bytes, start.size, where);
  let { bytes } = start;
  if (bytes.length < jsonEnd) bytes = (await source.readStart(file, jsonEnd, options))?.bytes ?? bytes;
  if (bytes.length < jsonEnd) {
    throw new CorruptCheckpointError(
      `${where}: the file ends at byte ${bytes.length}, within its header of ${jsonEnd} bytes. Download it again.`,
    );
  }
  const tensors = parseHeader(bytes.subarray(LENGTH_BYTES, jsonEnd), start.size, where);
  return tensors.map((tensor) => ({ ...tensor, file }));
}

/** Runs `work` on each item, a few at a time; the first failure stops the others. */
async function mapInWindow<T, R>(
  items: readonly T[],
  { signal }: ReadOptions,
  work: (item: T, options: ReadOptions) => Promise<R>,
): Promise<R[]> {
  const failure = new AbortController();
  const options = { signal: signal ? AbortSignal.any([signal, failure.signal]) : failure.signal };
  const results: R[] = [];
  const queue = items.entries();
  const worker = async () => {
    for (const [index, item] of queue) {
      options.signal.throwIfAborted();
      results[index] = await work(item, options);
    }
  };
  try {
    await Promise.all(Array.from({ length: NUM_PARALLEL_READS }, worker));
  } catch (error) {
    failure.abort(error);
    throw error;
  }
  return results;
}

async function missing(source: Source, wanted: string, options: ReadOptions): Promise<SourceError> {
  const names = await source.list?.(options);
  if (names?.some((name) => /^adapter_(config\.json|model\..+)$/.test(name))) {
    return new SourceError(
      `${source.label}: this is a LoRA adapter, not a model. Merge it into its base model (adapter_config.json names that) and give the result.`,
    );
  }
  const found = names
    ? ` Found there: ${names.slice(0, 10).join(', ') || 'nothing'}${names.length > 10 ? ', …' : ''}.`
    : ' (A repository of huggingface.co is read by its name, org/name.)';
  const files = wanted === CONFIG_FILE ? wanted : `${SINGLE_FILE} and no ${INDEX_FILE}`;
  return new SourceError(
    `${source.label}: there is no ${files}. Give the folder that holds a Hugging Face checkpoint in safetensors: ` +
      `${CONFIG_FILE}, and ${SINGLE_FILE} or its shards with their index.${found}`,
  );
}

/** A file as messages name it. */
function at(source: Source, name: string): string {
  return `${name} of ${source.label}`;
}

/** Some bytes of a tensor. */
export interface TensorChunk {
  tensor: TensorEntry;
  /** Where `bytes` starts within the tensor. */
  offset: number;
  /** Valid only until the next chunk is asked for. */
  bytes: Uint8Array;
}

/**
 * Streams the bytes of some tensors in file order, whatever order they are given in: each file once, each tensor's
 * bytes in order and complete. A tensor without elements gives no chunk. For several files at once, call it once per file.
 */
export async function* streamTensors(
  source: Source,
  tensors: Iterable<TensorEntry>,
  options: ReadOptions = {},
): AsyncGenerator<TensorChunk, void, undefined> {
  const byFile = new Map<string, TensorEntry[]>();
  for (const tensor of tensors) {
    const group = byFile.get(tensor.file);
    if (group) group.push(tensor);
    else byFile.set(tensor.file, [tensor]);
  }
  for (const [file, group] of byFile) {
    const ranges = group.filter((tensor) => tensor.end > tensor.begin).sort((a, b) => a.begin - b.begin);
    let index = 0;
    let offset = 0;
    for await (const bytes of source.stream(file, ranges, options)) {
      const tensor = ranges[index]!;
      yield { tensor, offset, bytes };
      offset += bytes.length;
      if (tensor.begin + offset === tensor.end) {
        index += 1;
        offset = 0;
      }
    }
  }
}
