/**
 * @file Several pieces of one file under way at once and handed on in order, in a fixed number of buffers. It must not
 * know how a piece is fetched.
 */
import type { ByteRange } from './source.ts';

export interface RangeWindow {
  /** Some bytes from the beginning of `range`, which lies in the window's range; valid until the next call. */
  next(range: ByteRange): Promise<Uint8Array>;
  /** Stops what is under way; never throws. */
  close(): Promise<void>;
}

interface Piece extends ByteRange {
  buffer: Uint8Array;
  /** Bytes of `buffer` that are there. */
  filled: number;
}

/**
 * Fetches the bytes of a range in order and gives each to `take`, complete or with an error. It stops soon when the signal is
 * aborted.
 */
export type FetchRange = (
  range: ByteRange,
  take: (bytes: Uint8Array) => void,
  signal: AbortSignal,
) => Promise<void>;

/**
 * @param whole what is wanted, from first to last byte
 * @param pieceBytes bytes of one request
 * @param numPieces requests under way at once; as many buffers of `pieceBytes` are held
 */
export function createRangeWindow(
  whole: ByteRange,
  pieceBytes: number,
  numPieces: number,
  fetchRange: FetchRange,
  signal: AbortSignal | undefined,
): RangeWindow {
  const controller = new AbortController();
  const follow = () => controller.abort(signal?.reason);
  if (signal?.aborted) follow();
  signal?.addEventListener('abort', follow, { once: true });
  const tasks = new Set<Promise<void>>();
  const pieces: Piece[] = [];
  const spare: Uint8Array[] = [];
  let nextBegin = whole.begin;
  let failure: { error: unknown } | undefined;
  let wake = (): void => {};

  function start(piece: Piece): void {
    pieces.push(piece);
    const take = (bytes: Uint8Array) => {
      piece.buffer.set(bytes, piece.filled);
      piece.filled += bytes.length;
      wake();
    };
    const task = fetchRange(piece, take, controller.signal)
      .catch((error: unknown) => {
        failure ??= { error };
        wake();
      })
      .finally(() => tasks.delete(task));
    tasks.add(task);
  }

  function fill(): void {
    while (pieces.length < numPieces && nextBegin < whole.end) {
      const begin = nextBegin;
      const end = Math.min(begin + pieceBytes, whole.end);
      nextBegin = end;
      start({
        begin,
        end,
        filled: 0,
        buffer: spare.pop() ?? new Uint8Array(Math.min(pieceBytes, end - begin)),
      });
    }
  }

  return {
    async next({ begin, end }) {
      fill();
      while (begin >= pieces[0]!.end) {
        const done = pieces[0]!;
        // A gap between ranges may end a piece before its last byte has come, which must not go to another piece's buffer.
        while (done.filled < done.end - done.begin && !failure) await sleepUntilWoken();
        if (failure) throw failure.error;
        pieces.shift();
        if (done.buffer.length === pieceBytes) spare.push(done.buffer);
        fill();
      }
      const piece = pieces[0]!;
      while (piece.begin + piece.filled <= begin && !failure) await sleepUntilWoken();
      if (failure) throw failure.error;
      return piece.buffer.subarray(begin - piece.begin, Math.min(piece.filled, end - piece.begin));
    },
    async close() {
      signal?.removeEventListener('abort', follow);
      controller.abort();
      await Promise.all(tasks);
    },
  };

  function sleepUntilWoken(): Promise<void> {
    return new Promise((resolve) => {
      wake = resolve;
    });
  }
}
