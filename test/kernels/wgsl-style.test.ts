/** @file How WGSL is written: a function is short enough to be read at once. */
import { readdirSync, readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { expect, it } from 'vitest';

const ROOT = resolve(import.meta.dirname, '../..');
const MAX_LINES = 60;

const files = readdirSync(resolve(ROOT, 'kernels'), { recursive: true, encoding: 'utf8' })
  .filter((file) => file.endsWith('.wgsl'))
  .map((file) => `kernels/${file.replaceAll('\\', '/')}`)
  .sort();

interface Lines {
  name: string;
  /** From the line of its `fn` to that of its last brace. */
  lines: number;
}

/** The functions of a WGSL text, by counting braces outside comments. */
function functionsOf(text: string): Lines[] {
  const lines = text.split('\n').map((line) => line.replace(/\/\/.*$/, ''));
  const found: Lines[] = [];
  for (let begin = 0; begin < lines.length; begin++) {
    const name = lines[begin]!.match(/\bfn\s+(\w+)/)?.[1];
    if (name === undefined) continue;
    let depth = 0;
    let end = begin;
    let hasBody = false;
    for (; end < lines.length; end++) {
      for (const character of lines[end]!) {
        if (character === '{') depth++;
        if (character === '}') depth--;
        hasBody ||= depth > 0;
      }
      if (hasBody && depth <= 0) break;
    }
    found.push({ name, lines: end - begin + 1 });
    begin = end;
  }
  return found;
}

it('counts the lines of functions', () => {
  const text =
    'fn a() {}\n// fn none() {\nfn b(\n  x: u32,\n) -> u32 {\n  if (x > 0u) { // }\n    return x;\n  }\n}\n';
  expect(functionsOf(text)).toEqual([
    { name: 'a', lines: 1 },
    { name: 'b', lines: 7 },
  ]);
});

it(`no function of a kernel has more than ${MAX_LINES} lines`, () => {
  const functions = files.flatMap((file) =>
    functionsOf(readFileSync(resolve(ROOT, file), 'utf8')).map((f) => ({ ...f, file })),
  );
  expect(functions.length).toBeGreaterThan(100);
  const long = functions.filter(({ lines }) => lines > MAX_LINES);
  expect(long.map(({ file, name, lines }) => `${file}: ${name} has ${lines} lines`)).toEqual([]);
});
