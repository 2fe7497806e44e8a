/** @file The Jinja engine: the same text as Python's Jinja2, and nothing that a hostile template could gain. */
import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { JinjaError } from '../../tokenizer/jinja/error.ts';
import { compile } from '../../tokenizer/jinja/template.ts';
import { PATIENT } from './tokenizers.ts';

const NOW = () => new Date(2026, 0, 15, 12, 0);
const render = (template: string, variables: Record<string, unknown> = {}) =>
  compile(template).render(variables, NOW);

/** The error of a template that must have one. */
function errorOf(template: string, variables: Record<string, unknown> = {}): JinjaError {
  try {
    render(template, variables);
  } catch (error) {
    if (error instanceof JinjaError) return error;
    throw error;
  }
  throw new Error(`no error from ${template.slice(0, 100)}`);
}

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

  const grow = (set: string, use = '') =>
    `{% set ns = namespace(a=[1], b=[1], s='aaaa', x=10) %}{% for i in range(99999) %}{% set ${set} %}{% endfor %}${use}`;
  test.each([
    ['loops without end', '{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}'],
    ['a macro without end', '{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}'],
    [
      'a macro that doubles',
      '{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(90) }}',
    ],
    ['a recursive loop without end', '{% for x in [[]] recursive %}{{ loop([[]]) }}{% endfor %}'],
    ['text that doubles', grow('ns.s = ns.s + ns.s')],
    ['text that doubles by ~', grow('ns.s = ns.s ~ ns.s')],
    ['lists that double', grow('ns.a = ns.a + ns.a')],
    ['a number that doubles', grow('ns.x = ns.x * ns.x')],
    ['a power', '{{ 2 ** (10 ** 9) }}'],
    ['a long list', '{{ ([1] * 10 ** 9)|length }}'],
    ['a tree of shared lists, printed', grow('ns.a = [ns.a, ns.a]', '{{ ns.a }}')],
    ['a tree of shared lists, as JSON', grow('ns.a = [ns.a, ns.a]', '{{ ns.a|tojson }}')],
    [
      'two trees of shared lists, compared',
      grow('ns.a, ns.b = [ns.a, ns.a], [ns.b, ns.b]', '{{ ns.a == ns.b }}'),
    ],
    ['a deep list', grow('ns.a = [ns.a]', '{{ ns.a }}')],
    ['a namespace in itself', '{% set ns = namespace() %}{% set ns.x = ns %}{{ ns }}'],
    ['wide padding', "{{ 'a'.center(10 ** 12) }}"],
    ['a wide format', "{{ '%999999999d' % 1 }}"],
    ['a wide brace format', "{{ '{:999999999}'.format(1) }}"],
    ['replacement by long text', "{{ ('a' * 10 ** 6).replace('a', 'b' * 10 ** 6) }}"],
    ['a long separator', "{{ ('b' * 10 ** 6).join(['a'] * 1000) }}"],
    ['a long output', "{% set x = 'a' * 10 ** 6 %}{% for i in range(100) %}{{ x }}{% endfor %}"],
    ['a slow search', "{% set a = 'a' * 8000000 %}{{ (a ~ 'b') in (a ~ a) }}"],
    [
      'searches without end',
      "{% set a = 'a' * 10 ** 6 %}{% for i in range(99999) %}{{ 'b' in a }}{% endfor %}",
    ],
    ['slices without end', '{{ [1]|slice(10 ** 9)|list }}'],
    ['a long batch', "{{ [1]|batch(10 ** 9, 'x')|list }}"],
    ['slow sorts', '{% for i in range(999) %}{% set x = range(99999)|sort %}{% endfor %}'],
    ['slow uniqueness', '{{ range(99999)|unique|list }}'],
    ['deep brackets', `{{ ${'('.repeat(2e4)}1${')'.repeat(2e4)} }}`],
    ['deep negation', `{{ ${'not '.repeat(2e4)}1 }}`],
    ['deep signs', `{{ ${'-'.repeat(2e4)}1 }}`],
    ['deep blocks', '{% if 1 %}'.repeat(2e4) + '{% endif %}'.repeat(2e4)],
    ['endless elif', `{% if 0 %}${'{% elif 0 %}'.repeat(2e4)}{% endif %}`],
    ['a long sum', `{{ 1${'+1'.repeat(2e4)} }}`],
    ['a long chain of filters', `{{ 1${'|string'.repeat(2e4)} }}`],
    ['many arguments', '{{ dict(*range(99999)) }}'],
  ])('%s end in an error', (_, template) => {
    expect(errorOf(template).kind).toBe('limit');
  });

  test.each([
    ['a string', `{{ '${'a\\'.repeat(2e4)}`],
    ['comments', '{#'.repeat(2e4)],
    ['prints', '{{'.repeat(2e4)],
    ['a number', `{{ ${'1_'.repeat(2e4)} }}`],
  ])('%s that never ends is a syntax error', (_, template) => {
    expect(errorOf(template).kind).toBe('syntax');
  });
});
