/**
 * @file A model's markdown to DOM, all at once or as it streams. What a model writes is untrusted: raw HTML is shown as
 * text, links go only to http, https or mailto, images become links, and the result passes a sanitiser.
 */
import DOMPurify, { type Config } from 'dompurify';
import { Marked, type Token } from 'marked';
import { make } from './dom.ts';

const marked = new Marked({
  gfm: true,
  breaks: true,
  renderer: {
    html: (token) => (token.block ? `<p>${escapeHtml(token.text)}</p>` : escapeHtml(token.text)),
    image: ({ href, text }) => `<a href="${escapeHtml(href)}">${escapeHtml(text || 'image')}</a>`,
    checkbox: ({ checked }) => (checked ? '☑ ' : '☐ '),
  },
});

const SANITISE = {
  ALLOWED_TAGS: [
    ...['p', 'br', 'hr', 'a', 'em', 'strong', 'del', 'code', 'pre', 'blockquote', 'ul', 'ol', 'li'],
    ...['h1', 'h2', 'h3', 'h4', 'h5', 'h6', 'table', 'thead', 'tbody', 'tr', 'th', 'td'],
  ],
  ALLOWED_ATTR: ['href', 'class', 'start', 'align'],
  ALLOWED_URI_REGEXP: /^(?:https?|mailto):/i,
  ADD_URI_SAFE_ATTR: ['start', 'align'], // otherwise these would have to look like addresses too
  ALLOW_DATA_ATTR: false,
  ALLOW_ARIA_ATTR: false,
} satisfies Config;

/** Writes one answer into `container` as its text arrives. */
export interface MarkdownStream {
  /** The cost depends on the length of the last block, not of the whole answer. */
  append(text: string): void;
  /** Ends the text. */
  finish(): void;
}

export function streamMarkdown(container: HTMLElement): MarkdownStream {
  let all = '';
  let open = ''; // the text of the last block, which more text may still change
  let openNodes: ChildNode[] = [];

  function showOpen(tokens: Token[]): void {
    const kept = updateCode(openNodes[0], tokens[0]) ? 1 : 0;
    for (const old of openNodes.splice(kept)) old.remove();
    openNodes.push(...render(tokens.slice(kept)).childNodes);
    container.append(...openNodes.slice(kept));
  }

  return {
    append(text) {
      const normal = text.replace(/\r\n?/g, '\n');
      all += normal;
      open += normal;
      const tokens = marked.lexer(open);
      const settled = tokens.slice(0, lastBlock(tokens));
      if (settled.length > 0) {
        showOpen(settled);
        openNodes = [];
        open = open.slice(settled.reduce((length, token) => length + token.raw.length, 0));
      }
      showOpen(tokens.slice(settled.length));
    },
    finish() {
      // A definition may come after the text that refers to it, when earlier blocks are parsed already.
      if (/^ {0,3}\[[^\]]+\]:/m.test(all)) container.replaceChildren(render(marked.lexer(all)));
    },
  };
}

/** Index of the last token that is a block; white space after it belongs to it, since the block may go on below. */
function lastBlock(tokens: readonly Token[]): number {
  return Math.max(
    0,
    tokens.findLastIndex((token) => token.type !== 'space'),
  );
}

function render(tokens: Token[]): DocumentFragment {
  const fragment = DOMPurify.sanitize(marked.parser(tokens), { ...SANITISE, RETURN_DOM_FRAGMENT: true });
  for (const link of fragment.querySelectorAll('a[href]')) {
    const href = link.getAttribute('href') ?? '';
    link.setAttribute('title', href); // the text of a link may show another address
    link.setAttribute('target', '_blank');
    link.setAttribute('rel', 'noopener noreferrer nofollow');
  }
  for (const table of fragment.querySelectorAll('table')) {
    const frame = make('div', { className: 'table-frame', tabIndex: 0 });
    table.replaceWith(frame);
    frame.append(table);
  }
  for (const pre of fragment.querySelectorAll('pre')) frameCode(pre);
  return fragment;
}

/** Puts a code block under a line with its language and a copy button. */
function frameCode(pre: HTMLPreElement): void {
  const language = /language-(\S+)/.exec(pre.querySelector('code')?.className ?? '')?.[1] ?? '';
  const copy = copyButton('Copy code', () => pre.textContent ?? '');
  pre.tabIndex = 0; // scrolls sideways by keyboard
  const block = make('div', { className: 'code-block' });
  block.dataset.language = language;
  pre.replaceWith(block);
  block.append(make('div', { className: 'code-head' }, make('span', {}, language), copy), pre);
}

/**
 * Changes only the text when `node` shows the code of `token` as it was a moment ago, so that its button and a reader's
 * place in it stay. Returns whether it did.
 */
function updateCode(node: ChildNode | undefined, token: Token | undefined): boolean {
  if (!(node instanceof HTMLElement) || token?.type !== 'code') return false;
  const code = node.querySelector('.code-block > pre > code');
  if (!code || node.dataset.language !== (/^\S*/.exec(token.lang ?? '')?.[0] ?? '')) return false;
  replaceTail(code, `${token.text}\n`);
  return true;
}

/** Sets the text of an element, by changing only its end where that is enough. */
function replaceTail(element: Element, text: string): void {
  const node = element.firstChild;
  if (node instanceof Text && text.startsWith(node.data.trimEnd())) {
    const kept = node.data.trimEnd().length;
    node.replaceData(kept, node.length - kept, text.slice(kept));
  } else {
    element.textContent = text;
  }
}

/** A button that copies text and says so. */
export function copyButton(label: string, text: () => string): HTMLButtonElement {
  const button = make(
    'button',
    { type: 'button', className: 'button quiet small', ariaLabel: label },
    'Copy',
  );
  button.addEventListener('click', async () => {
    const isCopied = await navigator.clipboard.writeText(text().trimEnd()).then(
      () => true,
      () => false, // no permission
    );
    button.textContent = isCopied ? 'Copied' : 'Not allowed';
    setTimeout(() => {
      button.textContent = 'Copy';
    }, 1500);
  });
  return button;
}

function escapeHtml(text: string): string {
  return text.replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);
}
