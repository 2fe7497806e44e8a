import { expect, it } from 'vitest';
import { ShaderCompileError } from '../../src/errors.ts';
import { assemble, f32, type KernelSource, sourceKey, wgslFile } from '../../src/gpu/kernel.ts';

const source = (text: string, extra: Partial<KernelSource> = {}): KernelSource => ({
  body: wgslFile('kernels/x.wgsl', text),
  bindings: {},
  grid: () => [1, 1, 1],
  ...extra,
});

it('keeps the branch that holds and maps each line to its file', () => {
  const { code, origins } = assemble(
    source('a\n#if WIDE\nb\n#elif TALL\nc\n#else\nd\n#endif\ne', {
      flags: { WIDE: false, TALL: true },
      parts: [wgslFile('kernels/part.wgsl', 'p')],
    }),
  );
  const lines = code.split('\n');
  const at = (text: string): string | undefined => origins[lines.indexOf(text)];
  expect(lines).not.toContain('b');
  expect(lines).not.toContain('d');
  expect(at('p')).toBe('kernels/part.wgsl:1');
  expect(at('a')).toBe('kernels/x.wgsl:1');
  expect(at('c')).toBe('kernels/x.wgsl:5');
  expect(at('e')).toBe('kernels/x.wgsl:9');
});

it('names a condition that is no flag', () => {
  expect(() => assemble(source('#if NOPE\n#endif'))).toThrow(ShaderCompileError);
});

it('writes constants as u32, f32 and bool', () => {
  const { code } = assemble(source('', { consts: { rows: 3, eps: f32(1e-6), on: true } }));
  expect(code).toContain('const rows: u32 = 3u;');
  expect(code).toMatch(/const eps: f32 = 9\.99\d+e-7f;/);
  expect(code).toContain('const on: bool = true;');
  expect(() => assemble(source('', { consts: { n: -1 } }))).toThrow(/natural number/);
  expect(() => assemble(source('', { consts: { n: f32(Number.NaN) } }))).toThrow(/finite/);
});

it('gives a kernel outside of steps numbers of its own in place of the step', () => {
  const { body, bindings } = source('fn main() {}');
  const [first, second] = [
    { body, bindings, params: ['rows', 'cols'] },
    { body, bindings, params: ['cols', 'rows'] },
  ];
  const { code, origins } = assemble(first!);
  expect(code).toContain('struct Params { rows: u32, cols: u32 }');
  expect(code).toContain('@group(0) @binding(0) var<uniform> params: Params;');
  expect(code).not.toContain('step');
  expect(origins[code.split('\n').indexOf('fn main() {}')]).toBe('kernels/x.wgsl:1');
  expect(new Set([first!, second!, source('fn main() {}')].map(sourceKey)).size).toBe(3);
});
