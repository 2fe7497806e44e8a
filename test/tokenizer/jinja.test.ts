/** @file The Jinja engine: the same text as Python's Jinja2, and nothing that a hostile template could gain. */
import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { JinjaError } from '../../tokenizer/jinja/error.ts';
import { compile } from '../../tokenizer/jinja/template.ts';
import { errorOf, render } from './jinja-render.ts';
import { PATIENT } from './tokenizers.ts';

describe('against Python', PATIENT, () => {
  const file = new URL('../fixtures/jinja2/rows.json', import.meta.url);
  const { context, rows } = JSON.parse(readFileSync(file, 'utf8')) as {
    context: Record<string, unknown>;
    rows: [template: string, text: string | null][];
  };

  test('statements, filters, tests, methods and operators give the text of Jinja2 or fail where it fails', () => {
    const failures = rows.flatMap(([template, wanted]) => {
      let found: string | null = null;
      let reason = '';
      try {
        found = render(template, context);
      } catch (error) {
        if (!(error instanceof JinjaError)) throw error;
        reason = error.message;
      }
      return found === wanted
        ? []
        : [`${template}\n  found ${JSON.stringify(found)} ${reason}\n  wanted ${JSON.stringify(wanted)}`];
    });
    expect(rows.length).toBeGreaterThan(800);
    expect(failures).toEqual([]);
  });
});

describe('errors', () => {
  test.each([
    ['{{ 1 }}\n\n{{ (1 }}', 'syntax', 3],
    ['a\n{% if x %}\n{% endfor %}', 'syntax', 3],
    ['{#\n#}{{ "\n" }}\n{{ x.y.z }}', 'undefined', 4],
    ['{% for i in [1] %}\n{% if i %}\n{{ "a" + i }}{% endif %}{% endfor %}', 'type', 3],
    ['{% macro f() %}\n{{ raise_exception("no") }}\n{% endmacro %}\n\n{{ f() }}', 'raised', 2],
    ['\n{{ [].append(1) }}', 'security', 2],
    ['\n\n{{ 1 // 0 }}', 'value', 3],
    ['\n{{ "x" * 10 ** 9 }}', 'limit', 2],
  ])('%j is a %s error of line %i', (template, kind, line) => {
    expect(errorOf(template, { x: {} })).toMatchObject({ kind, line });
  });

  test('messages are those of Python', () => {
    expect(errorOf('{{ m.content + "x" }}', { m: { content: 1 } }).message).toBe(
      "unsupported operand type(s) for +: 'int' and 'str'",
    );
    expect(errorOf('{{ "x" + m }}', { m: null }).message).toBe(
      'can only concatenate str (not "NoneType") to str',
    );
    expect(errorOf('{{ m[0].role }}', { m: [] }).message).toBe('list object has no element 0');
    expect(errorOf('{{ "a" in m }}', { m: null }).message).toBe(
      "argument of type 'NoneType' is not iterable",
    );
  });

  test('a getter of the caller that throws is told as an error of the value', () => {
    const trap = {
      get x(): string {
        throw new TypeError('trap');
      },
    };
    expect(errorOf('{{ v.x }}', { v: trap })).toMatchObject({ kind: 'value', message: 'trap' });
  });
});

describe('values of the caller', () => {
  test('JSON numbers are ints where they can be, floats elsewhere', () => {
    expect(render('{{ v }}', { v: [1, 2.5, -0, 1e21, 2 ** 53, 10n ** 20n] })).toBe(
      '[1, 2.5, -0.0, 1e+21, 9007199254740992.0, 100000000000000000000]',
    );
  });

  test('fields that are undefined are absent, in lists they are None', () => {
    expect(render('{{ v }}{{ w is defined }}', { v: { a: undefined, b: [undefined] }, w: undefined })).toBe(
      "{'b': [None]}False",
    );
  });

  test.each([
    ['a function', () => 1],
    ['a Map', new Map()],
    ['a Date', new Date(0)],
    ['a symbol', Symbol('s')],
  ])('%s is refused', (_, v) => {
    expect(errorOf('{{ v }}', { v }).kind).toBe('type');
  });

  test('circular and absurdly deep values are refused', () => {
    const circle: Record<string, unknown> = {};
    circle.self = circle;
    expect(errorOf('{{ v }}', { v: circle }).kind).toBe('limit');
  });

  test('a key named __proto__ is a key like any other', () => {
    expect(render('{{ v }}{{ v["__proto__"].x }}', { v: JSON.parse('{"__proto__": {"x": 1}}') })).toBe(
      "{'__proto__': {'x': 1}}1",
    );
  });
});

describe('the clock', () => {
  test('strftime_now is the real time unless one is given', () => {
    expect(compile('{{ strftime_now("%Y") }}').render({})).toBe(String(new Date().getFullYear()));
    expect(render('{{ strftime_now("%A %d %B %Y, %-I:%M %p, day %j") }}')).toBe(
      'Thursday 15 January 2026, 12:00 PM, day 015',
    );
  });
});

describe('free names', () => {
  const namesOf = (template: string) => [...compile(template).freeNames].sort();

  test.each([
    ['{{ a }}{% if b is defined %}{{ c|default(d) }}{% endif %}', ['a', 'b', 'c', 'd']],
    ['{% set a = b %}{{ a }}{{ x.a }}{{ ns["b"] }}', ['b', 'ns', 'x']],
    ['{% if not a is defined %}{% set a = 1 %}{% endif %}{{ a }}', ['a']],
    ['{% if b %}{% set a = 1 %}{% else %}{% set a = 2 %}{% endif %}{{ a }}', ['b']],
    [
      '{% for a in b if a > c %}{{ loop.index }}{{ a }}{% set d = 1 %}{% endfor %}{{ a }}{{ d }}',
      ['a', 'b', 'c', 'd'],
    ],
    [
      '{% macro f(a, b=c) %}{{ a }}{{ b }}{{ d }}{{ caller() }}{{ kwargs }}{% endmacro %}{{ f(1) }}',
      ['c', 'd'],
    ],
    ['{% with a = b %}{{ a }}{% endwith %}{% set c %}{{ d }}{% endset %}{{ c }}', ['b', 'd']],
    [
      '{% set ns.x = 1 %}{% call(a) b(c) %}{{ a }}{% endcall %}{% filter replace(d, "") %}{% endfilter %}',
      ['b', 'c', 'd', 'ns'],
    ],
  ])('%s', (template, names) => {
    expect(namesOf(template)).toEqual(names);
  });
});

describe('hostile templates', PATIENT, () => {
  test.each([
    "{{ ''.constructor.constructor('return 1')() }}",
    "{{ ''['constructor']('x') }}",
    '{{ {}.__proto__.polluted }}',
    '{{ [].__class__.__mro__ }}',
    "{{ range.constructor('return 1')() }}",
    "{{ namespace()['__proto__'].x }}",
    "{{ ''|attr('constructor')|attr('name')|upper ~ x.y }}",
    "{{ [{}]|map(attribute='__proto__.x')|list }}",
    '{% for i in [1] %}{{ loop.constructor.name }}{% endfor %}',
    "{{ 'x'|constructor }}",
    "{{ 'x' is constructor }}",
    '{{ globalThis.process.exit() }}',
    '{{ constructor() }}{{ toString() }}{{ hasOwnProperty() }}',
    "{{ '{0.__class__}'.format('') }}",
    "{% set ns = namespace() %}{% set ns.__proto__ = {'x': 1} %}{{ {}.x.y }}",
  ])('cannot reach JavaScript: %s', (template) => {
    expect(errorOf(template, { x: {} }).kind).not.toBe('limit');
    expect(({} as Record<string, unknown>).x).toBeUndefined();
  });
});
