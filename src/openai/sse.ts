/** @file Reads a stream of server-sent events (WHATWG HTML, section 9.2). It must not know what is in them. */
import { ApiError } from '../errors.ts';

export interface ServerEvent {
  /** `message` if the stream does not say. */
  event: string;
  data: string;
}

/** No line of a chat completion is nearly as long; a line that never ends would fill the memory. */
const MAX_LINE_CHARS = 32 * 1024 * 1024;

/**
 * The events of a response's body, however its bytes were cut. An event whose empty line is missing at the end of the stream
 * counts too: some servers close right after `[DONE]`. Leaving the loop cancels the stream.
 */
export async function* serverEvents(body: ReadableStream<Uint8Array>): AsyncGenerator<ServerEvent> {
  const reader = body.getReader(); // not for await: Safari before 27 cannot iterate a ReadableStream
  const decoder = new TextDecoder(); // removes a byte order mark, as the standard wants
  let event = '';
  let data: string[] = [];
  let rest = '';
  let scanned = 0;

  /** Adds a line to the event; an empty line completes it. */
  function take(line: string): ServerEvent | undefined {
    if (line === '') {
      const complete = data.length > 0 ? { event: event || 'message', data: data.join('\n') } : undefined;
      event = '';
      data = [];
      return complete;
    }
    const colon = line.indexOf(':');
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? '' : line.slice(colon + 1).replace(/^ /, '');
    if (field === 'data') data.push(value);
    else if (field === 'event') event = value;
    return undefined;
  }

  /** Complete lines. The LF of a CR at the very end may still come. */
  function* lines(isLast: boolean): Generator<string> {
    const ends = /\r\n|\r|\n/g;
    let begin = 0;
    ends.lastIndex = Math.max(0, scanned - 1);
    for (let end = ends.exec(rest); end; end = ends.exec(rest)) {
      if (!isLast && end[0] === '\r' && ends.lastIndex === rest.length) break;
      yield rest.slice(begin, end.index);
      begin = ends.lastIndex;
    }
    rest = rest.slice(begin);
    scanned = rest.length;
  }

  try {
    for (;;) {
      const { done, value } = await reader.read();
      rest += decoder.decode(value, { stream: !done });
      for (const line of lines(done)) {
        const complete = take(line);
        if (complete) yield complete;
      }
      if (done) break;
      if (rest.length > MAX_LINE_CHARS) {
        throw new ApiError(
          502,
          `The server sent a line of more than ${MAX_LINE_CHARS} characters, wanted server-sent events.`,
        );
      }
    }
    if (rest !== '') take(rest);
    const last = take('');
    if (last) yield last;
  } finally {
    await reader.cancel().catch(() => undefined);
  }
}
