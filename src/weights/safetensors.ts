/**
 * @file The safetensors container: an 8-byte little-endian header length, a JSON header, the tensors' bytes; and the
 * index that spreads tensors over several such files. Every field is taken as hostile. It must not know where the
 * bytes come from or what a tensor is for.
 * Format: https://github.com/huggingface/safetensors#format
 */
import { CorruptCheckpointError } from '../errors.ts';
import { isPlainName } from '../sources/source.ts';
import { isJsonObject, parseStrictJsonObject, quoted } from './json.ts';

/** Bytes of one element, by the format's dtype names; some are less than a byte. */
export const DTYPE_BYTES = {
  F64: 8,
  F32: 4,
  F16: 2,
  BF16: 2,
  F8_E4M3: 1,
  F8_E5M2: 1,
  F8_E8M0: 1,
  F8_E4M3FNUZ: 1,
  F8_E5M2FNUZ: 1,
  F6_E2M3: 0.75,
  F6_E3M2: 0.75,
  F4: 0.5,
  C64: 8,
  I64: 8,
  I32: 4,
  I16: 2,
  I8: 1,
  U64: 8,
  U32: 4,
  U16: 2,
  U8: 1,
  BOOL: 1,
} as const;

export type SafetensorsDtype = keyof typeof DTYPE_BYTES;

/** A tensor's place in its file; `begin` and `end` count from the start of the file. */
export interface StoredTensor {
  name: string;
  dtype: SafetensorsDtype;
  shape: number[];
  begin: number;
  end: number;
}

/** Bytes of the length field in front of the header. */
export const LENGTH_BYTES = 8;

/** Of some 130,000 tensors in one file. The format allows 100 MB, which would take a gigabyte once parsed. */
const MAX_HEADER_BYTES = 16 * 1024 * 1024;

const AGAIN = 'Download the file again.';

/**
 * Length in bytes of the JSON header that follows the 8-byte length field.
 * @param start the first bytes of the file
 * @param size the file's size in bytes, where it is known
 * @param where the file, as messages should name it
 * @throws CorruptCheckpointError
 */
export function readHeaderLength(start: Uint8Array, size: number | undefined, where: string): number {
  if (start.length < LENGTH_BYTES) {
    throw new CorruptCheckpointError(
      `${where}: the file has ${start.length} bytes, too few for a safetensors file. ${AGAIN}`,
    );
  }
  const length = new DataView(start.buffer, start.byteOffset).getBigUint64(0, true);
  if (length <= MAX_HEADER_BYTES) {
    if (size === undefined || LENGTH_BYTES + Number(length) <= size) return Number(length);
    throw new CorruptCheckpointError(
      `${where}: the header should be ${length} bytes long, but the whole file has ${size} bytes: it is truncated, ` +
        `or not a safetensors file. ${AGAIN}`,
    );
  }
  const text = String.fromCharCode(...start.subarray(0, LENGTH_BYTES));
  if (text === 'version ') {
    throw new CorruptCheckpointError(
      `${where}: this is a Git LFS pointer, not the weights. Run \`git lfs pull\` in its folder, or download the file itself.`,
    );
  }
  if (text.trimStart().startsWith('<')) {
    throw new CorruptCheckpointError(
      `${where}: this is an HTML or XML page, not a safetensors file. Open its address in a browser to see what it says.`,
    );
  }
  throw new CorruptCheckpointError(
    `${where}: a header of ${length} bytes is announced, and at most ${MAX_HEADER_BYTES} are read: not a safetensors ` +
      `file, or damaged. ${AGAIN}`,
  );
}

/**
 * The tensors that a header declares, in the order of their bytes. They must fill the file from the end of the header
 * to its last byte, without gap or overlap, as the format demands.
 * @param json the header without its length field
 * @param size the file's size in bytes; where it is not known, the end of the data is not checked
 * @param where the file, as messages should name it
 * @throws CorruptCheckpointError naming the tensor
 */
export function parseHeader(json: Uint8Array, size: number | undefined, where: string): StoredTensor[] {
  if (json[0] !== 0x7b) {
    throw new CorruptCheckpointError(
      `${where}: the header does not begin with "{" as safetensors demands. ${AGAIN}`,
    );
  }
  const header = parseStrictJsonObject(json, `${where}: header`);
  const dataBegin = LENGTH_BYTES + json.length;
  const tensors: StoredTensor[] = [];
  for (const [name, info] of Object.entries(header)) {
    if (name !== '__metadata__') tensors.push(parseTensor(name, info, dataBegin, where));
  }
  tensors.sort((a, b) => a.begin - b.begin || a.end - b.end);
  checkLayout(tensors, dataBegin, size, where);
  return tensors;
}

function parseTensor(name: string, info: unknown, dataBegin: number, where: string): StoredTensor {
  const fail = (problem: string): never => {
    throw new CorruptCheckpointError(`${where}: tensor ${quoted(name)} ${problem}. ${AGAIN}`);
  };
  if (!isJsonObject(info)) return fail(`is declared as ${shown(info)}, wanted {dtype, shape, data_offsets}`);
  const { dtype, shape, data_offsets: offsets } = info;
  if (!isDtype(dtype))
    return fail(`has dtype ${shown(dtype)}, wanted one of ${Object.keys(DTYPE_BYTES).join(', ')}`);
  if (!isCounts(shape)) return fail(`has shape ${shown(shape)}, wanted an array of whole numbers from 0`);
  if (!isCounts(offsets) || offsets.length !== 2 || offsets[0]! > offsets[1]!) {
    return fail(`has data_offsets ${shown(offsets)}, wanted [begin, end] in whole bytes with begin <= end`);
  }
  const length = byteLength(shape, DTYPE_BYTES[dtype]);
  if (length === undefined)
    return fail(`has shape ${shown(shape)}, which is no whole number of bytes of ${dtype} below 2^53`);
  const [begin, end] = offsets as [number, number];
  if (end - begin !== length) {
    return fail(
      `has ${end - begin} bytes by its data_offsets, and ${length} by its shape ${shown(shape)} of ${dtype}`,
    );
  }
  if (!Number.isSafeInteger(dataBegin + end)) return fail(`ends at byte ${end} of the data, beyond 2^53`);
  return { name, dtype, shape, begin: dataBegin + begin, end: dataBegin + end };
}

function checkLayout(
  tensors: StoredTensor[],
  dataBegin: number,
  size: number | undefined,
  where: string,
): void {
  let end = dataBegin;
  let previous = 'the header';
  for (const tensor of tensors) {
    if (tensor.begin !== end) {
      const problem =
        tensor.begin < end
          ? `overlaps ${previous}, which ends at byte ${end}`
          : `leaves a gap after ${previous}, which ends at byte ${end}; the format allows none`;
      throw new CorruptCheckpointError(
        `${where}: tensor ${quoted(tensor.name)} begins at byte ${tensor.begin} of the file and ${problem}. ${AGAIN}`,
      );
    }
    end = tensor.end;
    previous = `tensor ${quoted(tensor.name)}`;
  }
  if (size === undefined || size === end) return;
  const problem =
    size < end
      ? `${end - size} bytes are missing`
      : `${size - end} bytes belong to no tensor, which the format forbids`;
  throw new CorruptCheckpointError(
    `${where}: the file has ${size} bytes, and ${previous} should be its end at byte ${end}: ${problem}. ${AGAIN}`,
  );
}

/** Bytes of a tensor; undefined where they, or a partial product, leave the exact integers. */
function byteLength(shape: number[], elementBytes: number): number | undefined {
  let count = 1;
  for (const extent of shape) {
    count *= extent;
    if (!Number.isSafeInteger(count)) return undefined;
  }
  const length = count * elementBytes;
  return Number.isSafeInteger(length) ? length : undefined;
}

function isDtype(value: unknown): value is SafetensorsDtype {
  return typeof value === 'string' && Object.hasOwn(DTYPE_BYTES, value);
}

function isCounts(value: unknown): value is number[] {
  return Array.isArray(value) && value.every((count) => Number.isSafeInteger(count) && count >= 0);
}

function shown(value: unknown): string {
  const text = JSON.stringify(value) ?? 'nothing';
  return text.length > 120 ? `${text.slice(0, 120)}…` : text;
}

/**
 * Which file each tensor is in, from the bytes of a `model.safetensors.index.json`.
 * @param where the file, as messages should name it
 * @throws CorruptCheckpointError
 */
export function parseIndex(bytes: Uint8Array, where: string): Map<string, string> {
  const { weight_map: weightMap } = parseStrictJsonObject(bytes, where);
  if (!isJsonObject(weightMap)) {
    throw new CorruptCheckpointError(
      `${where}: "weight_map" is ${shown(weightMap)}, wanted an object of tensor names and file names. ${AGAIN}`,
    );
  }
  const files = new Map<string, string>();
  for (const [name, given] of Object.entries(weightMap)) {
    const file = typeof given === 'string' ? given.replace(/^(\.\/)+/, '') : given;
    if (typeof file !== 'string' || !isPlainName(file)) {
      throw new CorruptCheckpointError(
        `${where}: tensor ${quoted(name)} is said to be in ${shown(file)}, wanted the name of a file in the same ` +
          `folder. Do not use this checkpoint unless you trust where it comes from; download it again.`,
      );
    }
    files.set(name, file);
  }
  return files;
}
