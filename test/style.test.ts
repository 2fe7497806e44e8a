/**
 * @file Long functions, above all those that hold other functions over shared variables: what such a closure has is clearer as a
 * class with private fields, or as functions over a record.
 */
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { type ESTree, parseSync, Visitor } from 'vite';
import { expect, test } from 'vitest';
import { sourceFiles } from './import-graph.ts';

const ROOT = resolve(import.meta.dirname, '..');
const FOLDERS = ['src', 'tokenizer'];
const MAX_LINES = 100;

/** The functions and methods of a file that are too long, each with its place and length. */
function longFunctions(path: string, code: string, maxLines = MAX_LINES): string[] {
  const { program, errors } = parseSync(path, code);
  if (errors[0]) throw new Error(`${path} does not parse: ${errors[0].message}`);
  const names = new Map<number, string>();
  const found: string[] = [];
  const lineOf = (offset: number): number => code.slice(0, offset).split('\n').length;
  const name = (value: ESTree.Node | null | undefined, key: ESTree.Node): void => {
    if (value) names.set(value.start, code.slice(key.start, key.end));
  };
  const check = (node: ESTree.Function | ESTree.ArrowFunctionExpression): void => {
    const line = lineOf(node.start);
    const numLines = lineOf(node.end) - line + 1;
    if (numLines <= maxLines) return;
    const own = 'id' in node && node.id ? node.id.name : names.get(node.start);
    found.push(`${path}:${line} ${own ?? 'a function without a name'} has ${numLines} lines`);
  };
  new Visitor({
    VariableDeclarator: ({ id, init }) => name(init, id),
    Property: ({ key, value }) => name(value, key),
    PropertyDefinition: ({ key, value }) => name(value, key),
    MethodDefinition: ({ key, value }) => name(value, key),
    FunctionDeclaration: check,
    FunctionExpression: check,
    ArrowFunctionExpression: check,
  }).visit(program);
  return found;
}

test(`no function has more than ${MAX_LINES} lines`, () => {
  const files = FOLDERS.flatMap((folder) => sourceFiles(ROOT, folder));
  expect(files.length).toBeGreaterThan(0);
  const found = files.flatMap((file) => longFunctions(file, readFileSync(resolve(ROOT, file), 'utf8')));
  expect(found).toEqual([]);
});

test.each([
  ['function long() {\n\n\n}', ['a.ts:1 long has 4 lines']],
  ['const long = () => {\n\n\n};', ['a.ts:1 long has 4 lines']],
  ['const all = {\n  async *long() {\n\n\n  },\n};', ['a.ts:2 long has 4 lines']],
  ['class A {\n  #long(): void {\n\n\n  }\n}', ['a.ts:2 #long has 4 lines']],
  ['class A {\n  long = function* () {\n\n\n  };\n}', ['a.ts:2 long has 4 lines']],
  ['use(() => {\n\n\n});', ['a.ts:1 a function without a name has 4 lines']],
  ['function outer() {\n  return () => {\n    1;\n  };\n}', ['a.ts:1 outer has 5 lines']],
  ['class Long {\n  a() {}\n  b() {}\n  c() {}\n}', []],
  ['const long = [\n  1,\n  2,\n  3,\n];', []],
])('a checker for three lines finds in %j %j', (code, expected) => {
  expect(longFunctions('a.ts', code, 3)).toEqual(expected);
});
