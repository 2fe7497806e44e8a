/**
 * @file What a server's answer, or its silence, means for reading a file: the file or range, nothing there, try again, or
 * give up. It must not know who reads or why.
 */
import { SourceError } from '../errors.ts';
import type { ByteRange } from './source.ts';

const MAX_RETRY_AFTER_MS = 60_000;

/** A failure that another try may get over. */
export class TemporaryError extends SourceError {
  readonly retryAfterMs: number;
  constructor(message: string, retryAfterMs = 0) {
    super(message);
    this.retryAfterMs = retryAfterMs;
  }
}

/**
 * The server answered, and did not allow this page to see the answer. Many servers allow other sites' pages to see files
 * and not to see errors, so where they did allow a file before, this one is most likely not there.
 */
export class HiddenAnswerError extends TemporaryError {}

/** What a kind of server means by an answer that is neither the file nor busy; undefined where it means nothing special. */
export type ExplainRefusal = (response: Response) => SourceError | undefined;

/**
 * Size of the file where the answer tells it, or 'missing' when there is no such file.
 * @throws SourceError for every answer that holds neither the file nor the range
 */
export function checkResponse(
  response: Response,
  url: URL,
  range: ByteRange | undefined,
  explain?: ExplainRefusal,
): number | undefined | 'missing' {
  const { status } = response;
  const where = shownUrl(url);
  const refusal = status >= 400 ? explain?.(response) : undefined;
  if (refusal) throw refusal;
  if (status === 404 || status === 410) return 'missing';
  // Servers of single-page apps answer every unknown path with their page.
  if (response.ok && response.headers.get('content-type')?.startsWith('text/html')) return 'missing';
  if (status === 200) return undefined;

  // Pages of other sites see Content-Range only if the server exposes it; without it the status has to do.
  const contentRange = /^bytes (?:(\d+)-\d+|\*)\/(\d+|\*)$/.exec(response.headers.get('content-range') ?? '');
  const size = contentRange && contentRange[2] !== '*' ? Number(contentRange[2]) : undefined;
  if (range && status === 416 && size !== undefined && size <= range.begin) return size;
  if (range && status === 206) {
    const encoding = response.headers.get('content-encoding') ?? 'identity';
    if (encoding !== 'identity') {
      throw new SourceError(
        `${where}: the server sent a byte range compressed (${words(encoding)}). Turn compression off for this file.`,
      );
    }
    if (contentRange && Number(contentRange[1]) !== range.begin) {
      throw new SourceError(
        `${where}: asked for bytes from ${range.begin}, and the server sent "${contentRange[0]}". It does not serve ` +
          'byte ranges correctly: use another server.',
      );
    }
    return size;
  }
  const found = `${where}: the server answered ${status} ${words(response.statusText)}`.trimEnd();
  if (status === 408 || status === 425 || status === 429 || status >= 500) {
    throw new TemporaryError(`${found}. It is busy or has a fault: try again later.`, retryAfter(response));
  }
  throw new SourceError(`${found}. ${statusHint(status)}`);
}

/** What a server says as messages may show it: plain words, and nothing that it may have repeated of a request. */
function words(text: string): string {
  return /^[A-Za-z' -]{1,40}$/.test(text) ? text : '';
}

function statusHint(status: number): string {
  if (status === 401 || status === 403) {
    return 'The checkpoint is private or gated, or the link has expired (some stores also answer this for a file that is not there).';
  }
  return 'Open this address in a browser to see what it says.';
}

function retryAfter(response: Response): number {
  const value = response.headers.get('retry-after');
  if (value === null) return 0;
  const ms = /^\d+$/.test(value) ? Number(value) * 1000 : Date.parse(value) - Date.now();
  return Math.min(Math.max(ms || 0, 0), MAX_RETRY_AFTER_MS);
}

/** A URL as messages show it: without what may be secret. */
export function shownUrl(url: URL): string {
  return `${url.protocol}//${url.host}${url.pathname}${url.search === '' ? '' : '?…'}`;
}

/** What fetch says of a failure; Node keeps the telling part in `cause`. */
export function reason(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return error.cause instanceof Error ? `${error.message}: ${error.cause.message}` : error.message;
}

/** Asks again without wanting to see the answer: that works when only the permission to see it is missing. */
export async function findHiddenAnswer(
  url: URL,
  signal: AbortSignal,
): Promise<HiddenAnswerError | undefined> {
  const page = globalThis.location;
  if (page === undefined || page.origin === url.origin) return undefined;
  try {
    await fetch(url, { method: 'HEAD', mode: 'no-cors', signal });
  } catch {
    return undefined;
  }
  return new HiddenAnswerError(
    `${shownUrl(url)}: the server does not allow pages of ${page.origin} to read this. It must send the header ` +
      'Access-Control-Allow-Origin (CORS). Load the checkpoint from elsewhere, or from a folder.',
  );
}

export function noAnswer(url: URL, error: unknown): TemporaryError {
  return new TemporaryError(
    `${shownUrl(url)}: no answer (${reason(error)}). Is the address right and the network up?`,
  );
}
