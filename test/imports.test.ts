/**
 * @file Enforces who may import whom (the rooms and arrows of CONTRIBUTING.md). A room is a folder, or a single file
 * that stands for itself; the first row that a path starts with is its room.
 */
import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import { describe, expect, test } from 'vitest';
import { findCycle, type Import, importsOf, readImports, sourceFiles, targetOf } from './import-graph.ts';

const ROOT = resolve(import.meta.dirname, '..');
const FOLDERS = ['src', 'kernels', 'tokenizer', 'examples', 'bench'];

interface Room {
  path: string;
  /** What it may import besides itself: a file, a folder (ends with a slash), or files of one kind in it (`*`). */
  imports: readonly string[];
  /** The same, with `import type` only. */
  types?: readonly string[];
  /** npm packages and Node's own modules it may import; undefined leaves it free. */
  packages?: readonly string[];
}

const ERRORS = 'src/errors.ts';

/** What a store may know: where bytes come from, nothing of what they mean or of a GPU. */
const STORE = [ERRORS, 'src/store/', 'src/sources/'];

const ROOMS: readonly Room[] = [
  { path: 'tokenizer/', imports: [], packages: [] },
  // The contracts: what a kernel is, what an op is, and how a batch lies in memory.
  {
    path: 'kernels/',
    imports: ['src/gpu/kernel.ts', 'src/graph/batch.ts', 'src/graph/graph.ts'],
    types: ['src/graph/activation.ts', 'src/graph/ops/', 'src/graph/weight.ts'],
    packages: [],
  },
  { path: ERRORS, imports: [], packages: [] },
  { path: 'src/graph/', imports: [ERRORS], packages: [] },
  {
    path: 'src/gpu/',
    imports: [ERRORS],
    types: ['src/graph/graph.ts', 'src/graph/weight.ts'],
    packages: ['wgsl-preprocessor'],
  },
  { path: 'src/models/', imports: [ERRORS, 'src/graph/'], packages: [] },
  // Where bytes come from: no tensors, no formats, no GPU.
  { path: 'src/sources/', imports: [ERRORS], packages: [] },
  {
    path: 'src/weights/',
    imports: [
      ERRORS,
      'src/sources/progress.ts',
      'src/sources/source.ts',
      'src/gpu/',
      'kernels/loading/*.wgsl',
      'kernels/weights/*.wgsl',
      'kernels/weights/blocks/*.wgsl',
    ],
    types: ['src/graph/weight.ts'],
    packages: [],
  },
  // The only ones that touch a platform: Node's files, and the worker with the browser's.
  { path: 'src/store/folder-store.ts', imports: STORE, packages: ['node:'] },
  { path: 'src/store/store-worker.ts', imports: STORE, packages: ['@noble/hashes/'] },
  { path: 'src/store/', imports: STORE, packages: [] },
  // What apps see of the runtime, and how a model comes to answer: each knows only those before it.
  {
    path: 'src/runtime/types.ts',
    imports: [],
    types: [
      'src/sources/hub.ts',
      'src/store/types.ts',
      'src/weights/convert.ts',
      'src/weights/load-gauge.ts',
      'src/weights/resolve.ts',
    ],
    packages: [],
  },
  { path: 'src/runtime/debug.ts', imports: [ERRORS], types: ['src/runtime/types.ts'], packages: [] },
  {
    path: 'src/runtime/program/',
    imports: [ERRORS, 'src/graph/', 'src/gpu/'],
    types: ['src/models/model.ts', 'src/runtime/types.ts', 'src/weights/upload.ts'],
    packages: [],
  },
  {
    path: 'src/runtime/generate/',
    imports: [
      ERRORS,
      'src/graph/',
      'src/gpu/',
      'src/runtime/program/',
      'kernels/index.ts',
      'kernels/sample/layout.ts',
      'kernels/sample/token-logprob.ts',
      'kernels/sample/top-logits.ts',
    ],
    types: ['src/runtime/types.ts', 'src/weights/upload.ts'],
    packages: [],
  },
  {
    path: 'src/runtime/examine/',
    imports: [
      ERRORS,
      'src/graph/',
      'src/gpu/',
      'src/runtime/generate/batch.ts',
      'src/runtime/program/',
      'src/weights/decode.ts',
      'kernels/attention/split.ts',
      'kernels/index.ts',
    ],
    types: ['src/weights/upload.ts'],
    packages: [],
  },
  {
    path: 'src/runtime/load/',
    imports: [
      ERRORS,
      'src/graph/',
      'src/gpu/',
      'src/models/index.ts',
      'src/runtime/examine/company.ts',
      'src/runtime/examine/examine.ts',
      'src/runtime/generate/runner.ts',
      'src/runtime/generate/session.ts',
      'src/runtime/program/',
      'src/sources/open-source.ts',
      'src/weights/',
      'kernels/index.ts',
    ],
    types: ['src/runtime/types.ts', 'src/sources/source.ts', 'kernels/sample/layout.ts'],
    packages: [],
  },
  { path: 'src/constrain/', imports: [ERRORS], types: ['tokenizer/index.ts'], packages: [] },
  {
    path: 'src/chat/',
    imports: [
      ERRORS,
      'src/constrain/index.ts',
      'src/runtime/load/generation-config.ts',
      'src/runtime/load/load.ts',
      'tokenizer/',
    ],
    types: ['src/runtime/generate/session.ts', 'src/runtime/types.ts'],
    packages: [],
  },
  {
    path: 'src/openai/',
    imports: [
      ERRORS,
      'src/chat/model.ts',
      'src/sources/file-source.ts',
      'src/worker/worker-backend.ts',
      'tokenizer/index.ts',
    ],
    types: [
      'src/chat/types.ts',
      'src/constrain/index.ts',
      'src/runtime/types.ts',
      'src/sources/open-source.ts',
    ],
    packages: [],
  },
  {
    path: 'src/worker/engine-worker.ts',
    imports: [ERRORS, 'src/worker/', 'src/chat/model.ts', 'src/openai/local.ts', 'src/store/open-store.ts'],
    types: ['src/runtime/types.ts', 'src/openai/backend.ts'],
    packages: [],
  },
  // The page's side: nothing that computes.
  {
    path: 'src/worker/',
    imports: [
      ERRORS,
      'src/store/open-store.ts',
      'src/sources/hub.ts',
      'src/sources/open-source.ts',
      'tokenizer/index.ts',
    ],
    types: ['src/runtime/types.ts', 'src/openai/backend.ts', 'src/store/types.ts'],
    packages: [],
  },
  {
    path: 'src/index.ts',
    imports: [
      ERRORS,
      'src/chat/',
      'src/constrain/index.ts',
      'src/openai/',
      'src/runtime/debug.ts',
      'src/runtime/load/check-fit.ts',
      'src/runtime/types.ts',
      'src/sources/file-source.ts',
      'src/sources/open-source.ts',
      'src/store/open-store.ts',
      'src/store/types.ts',
      'tokenizer/index.ts',
    ],
    types: ['src/runtime/generate/session.ts', 'src/sources/source.ts'],
    packages: [],
  },
  { path: 'src/serve.ts', imports: [ERRORS], packages: ['node:'] },
  { path: 'src/cli/', imports: ['src/index.ts', 'src/node.ts'], packages: ['node:'] },
  {
    path: 'src/node.ts',
    imports: [ERRORS, 'src/serve.ts', 'src/sources/source.ts', 'src/store/folder-store.ts'],
    packages: ['node:', 'webgpu'],
  },
  { path: 'examples/kernel-lab/', imports: ['src/', 'kernels/', 'tokenizer/'] },
  { path: 'examples/cli/plan.ts', imports: ['src/'] },
  { path: 'examples/', imports: ['src/index.ts', 'src/node.ts'] },
  { path: 'bench/load', imports: ['bench/', 'src/index.ts', 'src/node.ts', 'scripts/', 'test/page.ts'] },
  {
    path: 'bench/peers/',
    imports: [
      'bench/',
      'src/runtime/',
      'src/index.ts',
      'src/node.ts',
      'scripts/',
      'test/page.ts',
      'test/seeded-random.ts',
    ],
  },
  { path: 'bench/speed/', imports: ['bench/', 'src/', 'kernels/', 'test/page.ts'] },
  {
    path: 'bench/real/cost.ts',
    imports: ['bench/', 'src/runtime/', 'src/index.ts', 'src/node.ts'],
  },
  { path: 'bench/random-checkpoint.ts', imports: ['src/'] },
  { path: 'bench/tokenizer', imports: ['bench/', 'tokenizer/'] },
  {
    path: 'bench/constrain.ts',
    imports: ['src/constrain/', 'test/constrain/any-schema.ts', 'test/tokenizer/tokenizers.ts'],
  },
  { path: 'bench/', imports: ['src/index.ts', 'src/node.ts', 'examples/models/'] },
];

function violation(file: string, { specifier, isType, line }: Import): string | undefined {
  const where = `${file}:${line} imports ${specifier}`;
  const room = ROOMS.find(({ path }) => file.startsWith(path));
  if (!room) return `${file} is in no room; give it a row in the table of test/imports.test.ts`;
  const target = targetOf(file, specifier);
  if (target === undefined) {
    const isAllowed = room.packages?.some((name) => specifier.startsWith(name)) ?? true;
    return isAllowed
      ? undefined
      : `${where}: ${room.path} imports ${list(room.packages)} of outside packages`;
  }
  if (!existsSync(resolve(ROOT, target))) return `${where}, which does not exist`;
  const mayImport = [room.path, ...room.imports];
  if (mayImport.some((pattern) => matches(target, pattern))) return undefined;
  if (room.types?.some((pattern) => matches(target, pattern))) {
    return isType ? undefined : `${where}: ${room.path} takes only types from there (write \`import type\`)`;
  }
  return `${where}: ${room.path} imports ${list(room.imports)}, and types of ${list(room.types)}`;
}

function matches(path: string, pattern: string): boolean {
  const [start = '', end] = pattern.split('*');
  if (end !== undefined) return path.startsWith(start) && path.endsWith(end);
  return pattern.endsWith('/') ? path.startsWith(pattern) : path === pattern;
}

const list = (names: readonly string[] = []) => names.join(', ') || 'nothing';

describe('import rules', () => {
  const files = FOLDERS.filter((folder) => existsSync(resolve(ROOT, folder))).flatMap((folder) =>
    sourceFiles(ROOT, folder),
  );
  const importsByFile = new Map(files.map((file) => [file, readImports(ROOT, file)]));

  test('every room imports only what its row allows', () => {
    const violations = [...importsByFile].flatMap(([file, imports]) =>
      imports.flatMap((one) => violation(file, one) ?? []),
    );
    expect(violations).toEqual([]);
  });

  test('no file imports itself through others, not even for types', () => {
    const graph = new Map(
      [...importsByFile].map(([file, imports]) => [
        file,
        imports.flatMap(({ specifier }) => targetOf(file, specifier) ?? []),
      ]),
    );
    expect(findCycle(graph)?.join(' -> ')).toBeUndefined();
  });
});

describe('the checker', () => {
  const forms = {
    "import { a } from './x.ts';": false,
    "import type { A } from './x.ts';": true,
    "import { type A } from './x.ts';": false,
    "import './x.ts';": false,
    "export * from './x.ts';": false,
    "export { a } from './x.ts';": false,
    "export type { A } from './x.ts';": true,
    "const a = await import('./x.ts');": false,
    "type A = import('./x.ts').A;": true,
    "new Worker(new URL('./x.ts', import.meta.url));": false,
  };

  test.each(Object.entries(forms))('sees %s', (code, isType) => {
    expect(importsOf('a.ts', `// from './comment.ts'\nconst text = "import './text.ts'";\n${code}`)).toEqual([
      { specifier: './x.ts', isType, line: 3 },
    ]);
  });

  test.each([
    ['src/models/qwen3.ts', '../../kernels/linear/linear.ts', false],
    ['src/graph/ops/linear.ts', '../../gpu/kernel.ts', true],
    ['kernels/linear/linear.ts', '../../src/gpu/device.ts', true],
    ['src/gpu/device.ts', '../graph/graph.ts', false],
    ['tokenizer/tokenizer.ts', '../src/errors.ts', false],
    ['src/weights/formats.ts', '../../kernels/weights/index.ts', true],
    ['src/weights/checkpoint.ts', '../sources/hub.ts', true],
    ['src/sources/source.ts', '../weights/safetensors.ts', true],
    ['src/runtime/program/plans.ts', '../../../kernels/index.ts', false],
    ['src/runtime/generate/scheduler.ts', '../load/load.ts', true],
    ['src/runtime/examine/tune.ts', '../generate/session.ts', true],
    ['src/gpu/device.ts', 'node:fs', false],
    ['src/runtime/generate/session.ts', './nothing.ts', false],
  ])('reports %s importing %s', (file, specifier, isType) => {
    expect(violation(file, { specifier, isType, line: 1 })).toContain(`${file}:1 imports ${specifier}`);
  });

  test('names the files of a cycle', () => {
    const graph = new Map([
      ['a', ['b']],
      ['b', ['c', 'd']],
      ['c', []],
      ['d', ['b']],
    ]);
    expect(findCycle(graph)).toEqual(['b', 'd', 'b']);
    expect(
      findCycle(
        new Map([
          ['a', ['b', 'c']],
          ['b', ['c']],
        ]),
      ),
    ).toBeUndefined();
  });
});
