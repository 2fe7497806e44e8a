/** @file Templates that would run or grow without end: each is given up. */
import { describe, expect, test } from 'vitest';
import { errorOf } from './jinja-render.ts';

describe('hostile templates', () => {
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
