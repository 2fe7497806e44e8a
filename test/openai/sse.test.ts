/** Streams of server-sent events, whatever pieces their bytes come in. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type ServerEvent, serverEvents } from '../../src/openai/sse.ts';
import { numCases } from '../num-cases.ts';

/** A stream of bytes, cut at the given places. */
function streamOf(bytes: Uint8Array, cuts: readonly number[] = []): ReadableStream<Uint8Array> {
  const ends = [...cuts.map((cut) => cut % (bytes.length + 1)), bytes.length].sort((a, b) => a - b);
  let begin = 0;
  return new ReadableStream({
    pull(controller) {
      const end = ends.shift();
      if (end === undefined) return controller.close();
      controller.enqueue(bytes.slice(begin, end));
      begin = end;
    },
  });
}

async function read(text: string, cuts?: readonly number[]): Promise<ServerEvent[]> {
  const events: ServerEvent[] = [];
  for await (const event of serverEvents(streamOf(new TextEncoder().encode(text), cuts))) events.push(event);
  return events;
}

const dataOf = async (text: string) => (await read(text)).map(({ data }) => data);

describe('server-sent events', () => {
  test.each([
    ['lines that end with LF', 'data: a\n\ndata: b\n\n', ['a', 'b']],
    ['lines that end with CRLF', 'data: a\r\n\r\ndata: b\r\n\r\n', ['a', 'b']],
    ['lines that end with CR', 'data: a\r\rdata: b\r\r', ['a', 'b']],
    ['comments, as servers send to keep a connection', ': ping\n\n:\ndata: a\n: x\n\n', ['a']],
    ['data of several lines', 'data: a\ndata:\ndata: b\n\n', ['a\n\nb']],
    ['no space, or one of two, behind the colon', 'data:a\n\ndata:  b\n\n', ['a', ' b']],
    ['fields that nobody knows, and lines without a colon', 'id: 7\nretry: 1\nwhat\ndata: a\n\n', ['a']],
    ['a field without a value', 'data\n\n', ['']],
    ['a byte order mark', '\uFEFFdata: a\n\n', ['a']],
    ['an end without an empty line', 'data: a\n\ndata: [DONE]', ['a', '[DONE]']],
    ['an end within a CRLF', 'data: a\r\n\r\ndata: b\r', ['a', 'b']],
    ['nothing', '', []],
  ])('may have %s', async (_, text, wanted) => {
    expect(await dataOf(text)).toEqual(wanted);
  });

  test('have names', async () => {
    expect(await read('event: error\ndata: a\n\ndata: b\n\n')).toEqual([
      { event: 'error', data: 'a' },
      { event: 'message', data: 'b' },
    ]);
  });

  test('come out the same however the bytes were cut', async () => {
    const line = fc.string({
      unit: fc.constantFrom('a', ':', ' ', '"', 'é', '中', '👩‍🚀', '\\n', '{', '\u2028'),
    });
    const event = fc.array(line, { minLength: 1, maxLength: 3 });
    const end = fc.constantFrom('\n', '\r\n', '\r');
    const noise = fc.constantFrom('', ': ping', 'id: 1');
    const cuts = fc.array(fc.nat(), { maxLength: 40 });
    await fc.assert(
      fc.asyncProperty(fc.array(event), end, noise, cuts, async (events, end, noise, cuts) => {
        const written = events.map((lines) =>
          [...(noise ? [noise] : []), ...lines.map((text) => `data: ${text}`), '', ''].join(end),
        );
        const wanted = events.map((lines) => ({ event: 'message', data: lines.join('\n') }));
        expect(await read(written.join(''), cuts)).toEqual(wanted);
      }),
      { numRuns: numCases(300) },
    );
  });

  test('are not read further by whoever stops listening', async () => {
    let isCancelled = false;
    const endless = new ReadableStream<Uint8Array>({
      pull: (controller) => controller.enqueue(new TextEncoder().encode('data: a\n\n')),
      cancel() {
        isCancelled = true;
      },
    });
    for await (const { data } of serverEvents(endless)) {
      expect(data).toBe('a');
      break;
    }
    expect(isCancelled).toBe(true);
  });
});
