/** @file The chat page's markdown, in a real browser: what a model writes is shown, and can do nothing. */
import { Marked } from 'marked';
import { afterEach, describe, expect, onTestFinished, test, vi } from 'vitest';
import { streamMarkdown } from '../../examples/chat/markdown.ts';

const DOCUMENT = `# Title

A paragraph with **bold**, *slanted*, \`code\` and ~~struck~~ text,
over two lines. See [the site](https://example.org/a?b=1&c=2), [mail](mailto:a@example.org) and [1].

3. three
4. four
   - inner *one*
   - [x] done

     a second paragraph

> quoted
> lines

\`\`\`ts
const a = '<b>' + \`x\`;

if (a) console.log(a);
\`\`\`

    indented code

| left | right |
| :--- | ---: |
| 1 | 2 |

Heading by underline
---

Last words.

[1]: https://example.org/one
`;

afterEach(() => document.body.replaceChildren());

/** Shows markdown that comes in these pieces. */
function show(pieces: readonly string[]): HTMLElement {
  const container = document.createElement('div');
  document.body.append(container);
  const stream = streamMarkdown(container);
  for (const piece of pieces) stream.append(piece);
  stream.finish();
  return container;
}

/** What is on the page, without the white space between blocks that nobody sees. */
function shown(container: HTMLElement): string {
  return container.innerHTML.replace(/>\s+</g, '><');
}

function cutAtRandom(text: string, random: () => number): string[] {
  const pieces: string[] = [];
  for (let at = 0; at < text.length; ) {
    const length = 1 + Math.floor(random() * 9);
    pieces.push(text.slice(at, at + length));
    at += length;
  }
  return pieces;
}

/** Mulberry32. */
function randomFrom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

describe('streamed markdown', () => {
  test('looks the same however the text was cut', () => {
    const whole = shown(show([DOCUMENT]));
    expect(shown(show([...DOCUMENT]))).toBe(whole);
    for (let i = 0; i < 8; i++) {
      const seed = Math.floor(Math.random() * 2 ** 32);
      expect(shown(show(cutAtRandom(DOCUMENT, randomFrom(seed)))), `seed ${seed}`).toBe(whole);
    }
  });

  test('keeps lists, tables, code and headings', () => {
    const answer = show([DOCUMENT]);
    expect(answer.querySelector('ol')!.start).toBe(3);
    expect(answer.querySelectorAll('li li')).toHaveLength(2);
    expect([...answer.querySelectorAll('td')].map((cell) => cell.align)).toEqual(['left', 'right']);
    expect(answer.querySelector('pre')!.textContent).toBe(
      "const a = '<b>' + `x`;\n\nif (a) console.log(a);\n",
    );
    expect(answer.querySelector('h2')!.textContent).toBe('Heading by underline');
    expect(answer.querySelector('a[href$="/one"]')!.textContent).toBe('1');
  });

  test('does not touch a finished block, nor the copy button of a block that still grows', () => {
    const container = document.createElement('div');
    const stream = streamMarkdown(container);
    stream.append('First.\n\n```js\nlet a');
    const paragraph = container.querySelector('p');
    const button = container.querySelector('button');
    stream.append(' = 1;\nlet b');
    stream.append(' = 2;\n```\n\nLast.');
    stream.finish();
    expect(container.querySelector('p')).toBe(paragraph);
    expect(container.querySelector('button')).toBe(button);
    expect(container.querySelector('pre')!.textContent).toBe('let a = 1;\nlet b = 2;\n');
    expect(container.lastElementChild!.textContent).toBe('Last.');
  });

  test('of a long answer parses and changes as little per piece as at its start', () => {
    const container = document.createElement('div');
    const changes = new MutationObserver(() => {});
    changes.observe(container, { childList: true, characterData: true, subtree: true });
    const parsed = vi.spyOn(Marked.prototype, 'lexer');
    onTestFinished(() => parsed.mockRestore());
    const stream = streamMarkdown(container);
    const costOf = (numPieces: number) => {
      parsed.mockClear();
      for (let i = 0; i < numPieces; i++) stream.append('Some words of it.\n\n');
      const records = changes.takeRecords();
      return {
        parsedCharacters: parsed.mock.calls.reduce((sum, [text]) => sum + text.length, 0),
        numChanges: records.length,
        movedNodes: records.reduce(
          (sum, { addedNodes, removedNodes }) => sum + addedNodes.length + removedNodes.length,
          0,
        ),
      };
    };
    costOf(1); // finds no block before it
    const early = costOf(10);
    costOf(500);
    expect(costOf(10)).toEqual(early);
    expect(early.parsedCharacters).toBeGreaterThan(0);
    expect(early.movedNodes).toBeGreaterThan(0);
  });
});

describe('hostile markdown', () => {
  test.each([
    '<script>window.harmed = true</script>',
    '<img src=x onerror="window.harmed = true">',
    'text <b onclick="window.harmed = true">bold</b>',
    '<svg><script>window.harmed = true</script></svg>',
    '<iframe srcdoc="<script>parent.harmed = true</script>"></iframe>',
    '<style>body { display: none }</style>',
    '<!-- comment --> <math><mi//xlink:href="data:x,<script>window.harmed=true</script>">',
    '<form action="https://evil.example"><input name=a></form>',
  ])('shows %s as the text it is', (text) => {
    const answer = show([text]);
    expect(answer.textContent!.trim()).toBe(text);
    expect(answer.querySelectorAll(':not(p)')).toHaveLength(0);
    expect('harmed' in window).toBe(false);
  });

  test.each([
    '[a](javascript:alert(1))',
    '[a](JaVaScRiPt:alert(1))',
    '[a](&#106;avascript:alert(1))',
    '[a](data:text/html,<script>alert(1)</script>)',
    '[a](vbscript:x)',
    '[a](/same/origin)',
    '[a](//evil.example)',
    '[a](blob:https://example.org/1)',
    '[a]: javascript:alert(1)\n\n[a]',
  ])('makes no link of %s', (text) => {
    expect(show([text]).querySelector('[href]')).toBeNull();
  });

  test('never loads a picture: it becomes a link that says where it leads', () => {
    const answer = show(['![a "cat"](https://evil.example/cat.png?secret "title") ![b](javascript:1)']);
    expect(answer.querySelector('img, picture, video, [src], [style], [background]')).toBeNull();
    const [link, ...others] = answer.querySelectorAll<HTMLAnchorElement>('a[href]');
    expect(others).toHaveLength(0);
    expect(link).toMatchObject({ textContent: 'a "cat"', title: 'https://evil.example/cat.png?secret' });
  });

  test('has links that open elsewhere and tell nobody', () => {
    const link = show(['[https://good.example](https://evil.example)']).querySelector('a')!;
    expect(link).toMatchObject({ target: '_blank', rel: 'noopener noreferrer nofollow' });
    expect(link.title).toBe('https://evil.example');
  });

  test('cannot name a class, an id or a style', () => {
    const answer = show(['```"><b id=a class=notice style=color:red>\ncode\n```\n\n# x {#y .z}']);
    expect(answer.querySelector('b, [id], [style], .notice')).toBeNull();
    expect(answer.querySelector('pre')!.textContent).toBe('code\n');
  });
});
