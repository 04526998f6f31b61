import { describe, expect, test } from 'vitest';
import { linkTo } from '../../src/config/links';
import { options, pathAt, schemaAt } from '../../src/config/completion';
import { earlier, even, incomplete, labelsOf, listOf, rule, sum, target, textOfLabels, withItem } from '../../src/wizards/values';

const DOCUMENT = `kind: VirtualService
spec:
  hosts:
  - reviews
  http:
  - match:
    - headers:
        end-user:
          exact: jason
    route:
    - destination:
        host: reviews
      weight: 90
    - destination:
        ho`.split('\n');

describe('the place in a text', () => {
  test.each([
    [DOCUMENT, 'spec http [] route [] destination'],
    [DOCUMENT.slice(0, 2).concat('  '), 'spec'],
    [DOCUMENT.slice(0, 4).concat('  - '), 'spec hosts []'],
    [DOCUMENT.slice(0, 6).concat('    - '), 'spec http [] match []'],
    [DOCUMENT.slice(0, 9), 'spec http [] match [] headers end-user'],
    [DOCUMENT.slice(0, 9).concat('    re'), 'spec http []'],
    [DOCUMENT.slice(0, 13), 'spec http [] route []'],
    [DOCUMENT.slice(0, 13).concat('    - '), 'spec http [] route []'],
    [DOCUMENT.slice(0, 13).concat('  - '), 'spec http []'],
    [DOCUMENT.slice(0, 13).concat('  '), 'spec'],
    [DOCUMENT.slice(0, 13).concat(''), ''],
    [[...DOCUMENT, '---', 'sp'], ''],
    [['spec:', '  http:', '  # words: here', '  - na'], 'spec http []'],
  ])('%#', (lines, path) => {
    expect(pathAt(lines).join(' ')).toBe(path);
  });
});

describe('completion', () => {
  const schema = {
    properties: {
      spec: {
        properties: {
          mode: { type: 'string', enum: ['STRICT', 'DISABLE'], description: 'How strict.' },
          on: { type: 'boolean' },
          labels: { type: 'object', additionalProperties: { properties: { exact: { type: 'string' } } } },
          http: { type: 'array', items: { properties: { timeout: { type: 'string' } } } },
        },
      },
    },
  };
  test.each([
    [['spec:', '  '], ['mode: ', 'on: ', 'labels:', 'http:']],
    [['spec:', '  mode: '], ['STRICT', 'DISABLE']],
    [['spec:', '  on: t'], ['true', 'false']],
    [['spec:', '  http:', '  - '], ['timeout: ']],
    [['spec:', '  http:', '  - timeout: 1s', '    '], ['timeout: ']],
    [['spec:', '  labels:', '    any:', '      '], ['exact: ']],
    [['spec:', '  unknown:', '    '], []],
    [['spec:', '  mode: STRICT and more'], []],
  ])('%#', (lines, inserts) => {
    expect(options(schema, lines).map(({ insert }) => insert)).toEqual(inserts);
  });
  test('an unknown place has no schema', () => {
    expect(schemaAt(schema, ['spec', 'mode', '[]', 'x'])).toBeUndefined();
  });
});

describe('values of wizards', () => {
  test('lists and labels are what is typed', () => {
    expect(listOf(' a, ,b ')).toEqual(['a', 'b']);
    expect(labelsOf('app=reviews, version = v1, broken, =x')).toEqual({ app: 'reviews', version: 'v1' });
    expect(textOfLabels({ app: 'reviews', version: 'v1' })).toBe('app=reviews, version=v1');
  });
  test('shares are whole and 100 together', () => {
    for (let count = 1; count < 9; count += 1) expect(sum(even(Array.from({ length: count }, () => target('a'))))).toBe(100);
    const halves = [target('a', 'v1', 50), target('a', 'v2', 40)];
    const rules = { hosts: [], gateways: [], http: [rule(halves)], tcp: [], subsets: [], policy: {} as never };
    expect(incomplete(rules)).toBe(true);
    expect(incomplete({ ...rules, http: [rule(even(halves))] })).toBe(false);
    expect(incomplete({ ...rules, http: [rule([target('a')])] })).toBe(false);
  });
  test('lists change in one place', () => {
    expect(withItem([1, 2, 3], 1, 9)).toEqual([1, 9, 3]);
    expect(withItem([1, 2, 3], 1, null)).toEqual([1, 3]);
    expect(earlier([1, 2, 3], 2)).toEqual([1, 3, 2]);
    expect(earlier([1, 2], 0)).toEqual([1, 2]);
  });
  test('objects have pages', () => {
    expect(linkTo({ kind: 'Deployment', namespace: 'a', name: 'b' })).toBe('/workloads/a/b');
    expect(linkTo({ kind: 'Gateway', namespace: 'a', name: 'b' })).toBe('/config/Gateway/a/b');
  });
});
