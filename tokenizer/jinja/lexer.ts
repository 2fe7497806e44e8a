/**
 * @file Template source -> tokens, with the whitespace rules of Jinja2 under `trim_blocks` and `lstrip_blocks`:
 * the newline after a block or comment goes, and so does the indentation before one.
 */
import { JinjaError } from './error.ts';
import { PYTHON_SPACE } from './text.ts';

/** `text` is output as it stands; `{{`, `}}`, `{%`, `%}` are their own types, all other punctuation is `operator`. */
export type TokenType =
  | 'text'
  | 'name'
  | 'string'
  | 'integer'
  | 'float'
  | 'operator'
  | '{{'
  | '}}'
  | '{%'
  | '%}'
  | 'end';

export interface Token {
  readonly type: TokenType;
  /** Decoded for strings, without `_` for numbers, the source text otherwise. */
  readonly value: string;
  readonly line: number;
}

const sticky = (source: string) => new RegExp(source, 'uy');
const WS = `[${PYTHON_SPACE}]*`;
const TAG = /\{([{%#])([-+]?)/g;
const RAW_BEGIN = sticky(`${WS}raw${WS}(?:-%\\}${WS}|%\\})`);
const RAW_END = new RegExp(`\\{%([-+]?)${WS}endraw${WS}(?:\\+%\\}|-%\\}${WS}|%\\}\\n?)`, 'gu');
const COMMENT_END = new RegExp(`\\+#\\}|-#\\}${WS}|#\\}\\n?`, 'gu');
const CLOSERS = { '{{': sticky(`-\\}\\}${WS}|\\}\\}`), '{%': sticky(`\\+%\\}|-%\\}${WS}|%\\}\\n?`) };
const SPACE = sticky(`[${PYTHON_SPACE}]+`);
const FLOAT = /\d+(?:_\d+)*(?:(?:\.\d+(?:_\d+)*)?[eE][-+]?\d+(?:_\d+)*|\.\d+(?:_\d+)*)/y;
const INTEGER = /0[bB](?:_?[01])+|0[oO](?:_?[0-7])+|0[xX](?:_?[\da-fA-F])+|[1-9](?:_?\d)*|0(?:_?0)*/y;
const NAME = /[\p{ID_Start}_]\p{ID_Continue}*/uy;
const OPERATOR = /\*\*|\/\/|==|!=|>=|<=|[-+/*%~[\](){}<>=.:|,;]/y;
const OPENERS: Record<string, string> = { ')': '(', ']': '[', '}': '{' };
const TRAILING_SPACE = new RegExp(`[${PYTHON_SPACE}]+$`, 'u');
const ONLY_SPACE = new RegExp(`^[${PYTHON_SPACE}]+$`, 'u');

/** Splits a template into tokens. Throws JinjaError `syntax` with its line. */
export function tokenize(template: string): Token[] {
  const source = template.replace(/\r\n?/g, '\n').replace(/\n$/, '');
  const tokens: Token[] = [];
  let position = 0;
  let line = 1;
  let nextBreak = source.indexOf('\n');

  const match = (pattern: RegExp): RegExpExecArray | null => {
    pattern.lastIndex = position;
    return pattern.exec(source);
  };
  const currentLine = () => {
    for (; nextBreak >= 0 && nextBreak < position; nextBreak = source.indexOf('\n', nextBreak + 1)) line++;
    return line;
  };
  const push = (type: TokenType, value: string) => tokens.push({ type, value, line: currentLine() });
  const fail = (message: string): never => {
    throw new JinjaError('syntax', message, currentLine());
  };
  /** Emits the text from `position` to `end`, trimmed as the sign of the next tag asks. */
  const pushText = (end: number, sign: string, isBlock: boolean) => {
    let text = source.slice(position, end);
    if (sign === '-') text = text.replace(TRAILING_SPACE, '');
    else if (sign !== '+' && isBlock) {
      const lineStart = text.lastIndexOf('\n') + 1;
      const startsLine = lineStart > 0 || position === 0 || source[position - 1] === '\n';
      if (startsLine && ONLY_SPACE.test(text.slice(lineStart))) text = text.slice(0, lineStart);
    }
    if (text !== '') push('text', text);
  };

  const readTag = (open: '{{' | '{%') => {
    push(open, open);
    const brackets: string[] = [];
    for (;;) {
      if (position >= source.length) fail(`unexpected end of template: '${open}' is never closed`);
      const close = brackets.length === 0 ? match(CLOSERS[open]) : null;
      if (close) {
        push(open === '{{' ? '}}' : '%}', close[0]);
        position += close[0].length;
        return;
      }
      readExpressionToken(brackets);
    }
  };
  const readExpressionToken = (brackets: string[]) => {
    const space = match(SPACE);
    if (space) {
      position += space[0].length;
      return;
    }
    const char = source[position] as string;
    if (char === "'" || char === '"') {
      const end = endOfString(source, position);
      if (end < 0) fail('unexpected end of template: a string is never closed');
      push('string', unescapeString(source.slice(position + 1, end)));
      position = end + 1;
      return;
    }
    const found =
      (source[position - 1] !== '.' && asToken('float', match(FLOAT))) ||
      asToken('integer', match(INTEGER)) ||
      asToken('name', match(NAME)) ||
      asToken('operator', match(OPERATOR)) ||
      fail(`unexpected char '${String.fromCodePoint(source.codePointAt(position) as number)}'`);
    const [type, text] = found;
    if (type === 'operator') balance(brackets, text);
    push(type, type === 'float' || type === 'integer' ? text.replaceAll('_', '') : text);
    position += text.length;
  };
  const balance = (brackets: string[], operator: string) => {
    if (operator === '(' || operator === '[' || operator === '{') brackets.push(operator);
    const opener = OPENERS[operator];
    if (opener !== undefined && brackets.pop() !== opener) fail(`unexpected '${operator}'`);
  };

  while (position < source.length) {
    const tag = match(TAG);
    if (!tag) {
      push('text', source.slice(position));
      break;
    }
    const [whole, kind, sign = ''] = tag;
    pushText(tag.index, sign, kind !== '{');
    position = tag.index + whole.length;
    const raw = kind === '%' ? match(RAW_BEGIN) : null;
    if (kind === '#' || raw) {
      if (raw) position += raw[0].length;
      const end = match(raw ? RAW_END : COMMENT_END) ?? fail(`Missing end of ${raw ? 'raw' : 'comment'} tag`);
      if (raw) pushText(end.index, end[1] ?? '', true);
      position = end.index + end[0].length;
    } else readTag(kind === '{' ? '{{' : '{%');
  }
  position = source.length;
  push('end', '');
  return tokens;
}

function asToken(type: TokenType, found: RegExpExecArray | null): [TokenType, string] | null {
  return found && [type, found[0]];
}

/** Index of the closing quote of the string that opens at `start`, or -1. */
function endOfString(source: string, start: number): number {
  for (let i = start + 1; i < source.length; i++) {
    if (source[i] === '\\') i++;
    else if (source[i] === source[start]) return i;
  }
  return -1;
}

const ESCAPES: Record<string, string> = {
  n: '\n',
  t: '\t',
  r: '\r',
  a: '\x07',
  b: '\b',
  f: '\f',
  v: '\v',
  '\n': '',
  '\\': '\\',
  "'": "'",
  '"': '"',
};

/** Python's escapes; an unknown one stays as it is written. */
function unescapeString(text: string): string {
  return text.replace(
    /\\(?:x([\da-fA-F]{2})|u([\da-fA-F]{4})|U(00(?:0[\da-fA-F]|10)[\da-fA-F]{4})|([0-7]{1,3})|([\s\S]))/g,
    (whole, x, u, wide, octal, char) => {
      if (char !== undefined) return ESCAPES[char] ?? whole;
      return String.fromCodePoint(octal ? Number.parseInt(octal, 8) : Number.parseInt(x ?? u ?? wide, 16));
    },
  );
}
