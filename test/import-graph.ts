/** @file Reads which file of the project imports which, from the parsed source text. Knows nothing of the rules. */
import { readdirSync, readFileSync } from 'node:fs';
import { posix, relative, resolve, sep } from 'node:path';
import { type ESTree, parseSync, Visitor } from 'vite';

export interface Import {
  /** What is written between the quotes. */
  specifier: string;
  /** Nothing of it is left at run time: `import type`, `export type ... from`, or a type `import('...')`. */
  isType: boolean;
  line: number;
}

/**
 * Every import of a TypeScript file: `import`, `export ... from`, `import()`, the type `import('...')`, and
 * `new URL('...', import.meta.url)`, which is how workers are named.
 * @throws when the file does not parse, or when `import()` gets something other than a string
 */
export function importsOf(path: string, code: string): Import[] {
  const { program, errors } = parseSync(path, code);
  if (errors[0]) throw new Error(`${path} does not parse: ${errors[0].message}`);
  const imports: Import[] = [];
  const add = (specifier: string, isType: boolean, start: number) =>
    imports.push({ specifier, isType, line: code.slice(0, start).split('\n').length });
  new Visitor({
    ImportDeclaration: (node) => void add(node.source.value, node.importKind === 'type', node.start),
    ExportAllDeclaration: (node) => void add(node.source.value, node.exportKind === 'type', node.start),
    ExportNamedDeclaration(node) {
      if (node.source) add(node.source.value, node.exportKind === 'type', node.start);
    },
    TSImportType: (node) => void add(node.source.value, true, node.start),
    ImportExpression(node) {
      const specifier = textOf(node.source);
      if (specifier === undefined)
        throw new Error(`${path}: import() of something that is not a plain string`);
      add(specifier, false, node.start);
    },
    NewExpression(node) {
      const [target, base] = node.arguments;
      const isUrl = node.callee.type === 'Identifier' && node.callee.name === 'URL';
      const specifier = target && textOf(target);
      if (isUrl && base?.type === 'MemberExpression' && specifier !== undefined)
        add(specifier, false, node.start);
    },
  }).visit(program);
  return imports;
}

function textOf(node: ESTree.Node): string | undefined {
  return node.type === 'Literal' && typeof node.value === 'string' ? node.value : undefined;
}

/** The TypeScript files below a folder, but not those of packages, as paths from `root` with `/` between the parts. */
export function sourceFiles(root: string, folder: string): string[] {
  return readdirSync(resolve(root, folder), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith('.ts'))
    .map((entry) => relative(root, resolve(entry.parentPath, entry.name)).split(sep).join('/'))
    .filter((path) => !path.includes('/node_modules/'))
    .sort();
}

export function readImports(root: string, file: string): Import[] {
  return importsOf(file, readFileSync(resolve(root, file), 'utf8'));
}

/** The project file that a relative specifier means (without `?raw`), or undefined for a package. */
export function targetOf(file: string, specifier: string): string | undefined {
  if (!specifier.startsWith('.')) return undefined;
  return posix.join(posix.dirname(file), specifier.replace(/\?.*$/, ''));
}

/**
 * One cycle of a graph, as the files along it with the first one repeated at the end, or undefined when there is none.
 * @param graph file -> files it imports
 */
export function findCycle(graph: ReadonlyMap<string, readonly string[]>): string[] | undefined {
  const done = new Set<string>();
  const path: string[] = [];
  function visit(file: string): string[] | undefined {
    if (path.includes(file)) return [...path.slice(path.indexOf(file)), file];
    if (done.has(file)) return undefined;
    path.push(file);
    for (const next of graph.get(file) ?? []) {
      const cycle = visit(next);
      if (cycle) return cycle;
    }
    path.pop();
    done.add(file);
    return undefined;
  }
  for (const file of graph.keys()) {
    const cycle = visit(file);
    if (cycle) return cycle;
  }
  return undefined;
}
