import { describe, expect, test } from 'vitest';
import type { LogLine } from '../../src/api/contract.gen';
import { legend } from '../../src/details/legend';
import { joined, matcher, timeOf, withoutTime } from '../../src/details/lines';
import { graphOf, namespacePath, pathOf, tabOf } from '../../src/details/subject';
import { bar, dotsOf, heat, scatter } from '../../src/details/traceView';
import { bytes } from '../../src/format';

describe('where details are', () => {
  test('paths', () => {
    expect(pathOf({ kind: 'app', namespace: 'a', name: 'b' })).toBe('/applications/a/b');
    expect(pathOf({ kind: 'workload', namespace: 'a', name: 'b/c' })).toBe('/workloads/a/b%2Fc');
    expect(namespacePath('a')).toBe('/namespaces/a');
    expect(graphOf({ kind: 'service', namespace: 'a', name: 'b' })).toMatchObject({ type: 'service', focus: 'service:a/b' });
  });
  test('a tab that a kind does not have is its first', () => {
    expect(tabOf('workload', 'outbound')).toBe('outbound');
    expect(tabOf('service', 'outbound')).toBe('overview');
    expect(tabOf('app', 'nothing')).toBe('overview');
  });
});

describe('the legend of a chart', () => {
  const lines = [
    { label: 'a', values: [1, null, 3, null] },
    { label: 'b', values: [null, null, null, null] },
  ];
  test('has the last value, or the one under the pointer', () => {
    expect(legend(lines, null)).toEqual([
      { label: 'a', at: 3, last: 3, average: 2, most: 3 },
      { label: 'b', at: null, last: null, average: null, most: null },
    ]);
    expect(legend(lines, 0)[0]).toMatchObject({ at: 1, last: 3 });
    expect(legend(lines, 1)[0]).toMatchObject({ at: null, last: 3 });
  });
});

test.each([
  [0, '0 B'],
  [999, '999 B'],
  [1830, '1.83 kB'],
  [5e9, '5 GB'],
])('%d bytes are %s', (count, words) => {
  expect(bytes(count)).toBe(words);
});

describe('lines of logs', () => {
  const line = (time: string): LogLine => ({ time, pod: 'p', container: 'c', text: time, access: false, level: 'info' });
  test.each([
    ['', 'anything', true],
    ['Error', 'an error', true],
    ['/err.r/', 'an error', true],
    ['/ERR/', 'an error', false],
    ['/ERR/i', 'an error', true],
    ['/', 'a/b', true],
    ['x', 'an error', false],
  ])('search %j in %j: %s', (search, text, found) => {
    expect(matcher(search)?.(text)).toBe(found);
  });
  test('a regular expression that is not valid is none', () => {
    expect(matcher('/(/')).toBeNull();
  });
  test('new lines join by time, and the oldest go', () => {
    const [a, b, c] = ['01', '02', '03'].map(line) as [LogLine, LogLine, LogLine];
    expect(joined([a, c], [b], 9)).toEqual([a, b, c]);
    expect(joined([a, b], [c], 2)).toEqual([b, c]);
    expect(joined([], [], 2)).toEqual([]);
  });
  test('times have milliseconds in the zone of the user', () => {
    expect(timeOf(line('2026-11-30T08:00:02.507123Z'), 'Asia/Tokyo')).toBe('17:00:02.507');
    expect(timeOf(line('soon'))).toBe('soon');
    expect(withoutTime('[2026-11-30T08:00:02.500Z] "GET / HTTP/1.1" 200')).toBe('"GET / HTTP/1.1" 200');
  });
});

describe('traces', () => {
  const row = (start: number, duration: number) => ({ id: `${start}`, start, duration, operation: '', services: [], spans: 1, errors: 0, own: {} });
  test('are placed by time and duration', () => {
    const { points, longest, from, to } = scatter([row(10, 50), row(20, 100), row(15, 0)]);
    expect(points.map(({ x, y }) => [x, y])).toEqual([
      [0, 0.5],
      [1, 1],
      [0.5, 0],
    ]);
    expect([longest, from, to]).toEqual([100, 10, 20]);
    expect(scatter([row(10, 0)]).points[0]).toMatchObject({ x: 0.5, y: 0 });
  });
  test.each([
    [0, 100, 0, 100],
    [25, 50, 25, 50],
    [99.9, 0, 99.5, 0.5],
    [50, 80, 50, 50],
  ])('a span at %d of %d ms has its bar at %d %% and %d %% wide', (start, duration, left, width) => {
    const span = { id: '', parent: '', depth: 0, service: '', operation: '', kind: '', start, duration, error: false, tags: {} };
    expect(bar(span, { id: '', start: 0, duration: 100, spans: [] })).toEqual({ left, width });
  });
});

test.each([
  [20, 10, true, 60],
  [80, 10, true, 60],
  [10, 10, false, 0],
  [5, 10, false, 60],
  [14.14, 10, true, 30],
])('a span of %d ms is against %d slower: %s, in %d %% of the colour', (duration, quantile, slower, strength) => {
  expect(heat(duration, quantile)).toEqual({ slower, strength });
});

test('dots over a chart are the spans of its direction', () => {
  const row = { id: 'a', start: 10, duration: 50, operation: '', services: [], spans: 3, errors: 1, own: { inbound: 40 } };
  expect(dotsOf([row], 'inbound')).toEqual([{ id: 'a', at: 10, value: 40, error: true }]);
  expect(dotsOf([row], 'outbound')).toEqual([]);
});
