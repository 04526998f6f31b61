import { describe, expect, test } from 'vitest';
import { clock, duration, moment, percent, rate, throughput, utc } from '../../src/format';
import { inWords, why, worst } from '../../src/health';
import { DEFAULTS, parse, shared, write } from '../../src/options';
import { sorted } from '../../src/pages/sort';
import { bookinfo } from '../mock/fixtures.mjs';

describe('numbers as people read them', () => {
  test.each([
    [rate, 0, '0/s'],
    [rate, 0.004, '<0.01/s'],
    [rate, 0.25, '0.25/s'],
    [rate, 12.345, '12.3/s'],
    [rate, 1234, '1.23k/s'],
    [percent, 0, '0 %'],
    [percent, 0.0004, '<0.1 %'],
    [percent, 0.015, '1.5 %'],
    [percent, 0.02, '2 %'],
    [percent, 0.35, '35 %'],
    [percent, 0.9999, '>99.9 %'],
    [percent, 1, '100 %'],
    [duration, 0, '0 ms'],
    [duration, 0.42, '0.42 ms'],
    [duration, 12.5, '12.5 ms'],
    [duration, 999, '999 ms'],
    [duration, 1900, '1.9 s'],
    [duration, 90_000, '1.5 min'],
    [throughput, 0, '0 B/s'],
    [throughput, 1830, '1.83 kB/s'],
    [throughput, 5e9, '5 GB/s'],
  ] as const)('%o of %d is %s', (format, value, words) => {
    expect(format(value)).toBe(words);
  });
  test('moments are in the zone of the user', () => {
    expect(clock(1_780_000_005, 'Europe/Berlin')).toBe('22:26:45');
    expect(moment('2026-11-30T08:00:00Z', 'Asia/Tokyo')).toBe('30 Nov 2026, 17:00');
    expect(utc(1_780_000_005)).toBe('2026-05-28 20:26:45 UTC');
    expect([moment(''), utc('')]).toEqual(['', '']);
  });
});

describe('options of the URL', () => {
  const of = (text: string) => parse(new URLSearchParams(text));
  test('are the defaults without a query', () => {
    expect(of('')).toEqual(DEFAULTS);
  });
  test('are read', () => {
    expect(of('namespaces=a,b&window=30m&refresh=0&type=app&services=false&animation=false&find=rt%20>%201')).toEqual({
      ...DEFAULTS,
      namespaces: ['a', 'b'],
      window: '30m',
      refresh: 0,
      type: 'app',
      services: false,
      animation: false,
      find: 'rt > 1',
    });
  });
  test('that are not valid are the defaults', () => {
    expect(of('window=soon&refresh=7&type=pod&services=perhaps&labels=all')).toEqual(DEFAULTS);
  });
  test('are written, without defaults', () => {
    const query = new URLSearchParams('window=1h&other=x&type=app');
    expect(write(query, { window: '5m', namespaces: ['a', 'b'], animation: false }).toString()).toBe(
      'other=x&type=app&namespaces=a%2Cb&animation=false',
    );
  });
  test('written and read are the same', () => {
    const options = {
      ...DEFAULTS,
      namespaces: ['a'],
      window: '1d',
      refresh: 60,
      labels: 'mtls' as const,
      open: '-',
      selected: 'app:a/b@v1',
      sort: '-rate',
      q: 'ä &',
    };
    expect(parse(write(new URLSearchParams(), options))).toEqual(options);
  });
  test('of all pages go along to the next', () => {
    expect(shared(new URLSearchParams('window=1h&find=x&namespaces=a'))).toBe('?namespaces=a&window=1h');
    expect(shared(new URLSearchParams(''))).toBe('');
    expect(shared(new URLSearchParams('q=x'), { find: 'a = b' })).toBe('?find=a+%3D+b');
  });
});

describe('health', () => {
  test('the worst counts', () => {
    expect(worst([])).toBe('NA');
    expect(worst(['NA', 'Healthy', 'Degraded', 'NotReady'])).toBe('Degraded');
  });
  test('is told by its worst judgement first', () => {
    const red = bookinfo().nodes.find((node) => node.health.status === 'Failure');
    expect(why(red!.health)[0]).toEqual({
      status: 'Failure',
      words: 'Inbound http: 35 % of 2/s had code 5XX in the last 5m. Degraded above 0 %, failure from 10 %.',
    });
  });
  test.each([
    ['^-$', 'no response'],
    ['-', 'no response'],
    ['[1-9]|1[0-6]', 'gRPC status 1 to 16'],
    ['4XX', 'code 4XX'],
  ])('the pattern %s is %s', (codes, words) => {
    const judgement = {
      status: 'Healthy',
      direction: 'outbound',
      protocol: 'grpc',
      codes,
      share: 0,
      degradedFrom: 0.1,
      failureFrom: 0.2,
      rate: 1,
    } as const;
    expect(inWords(judgement, '1h')).toBe(`Outbound grpc: 0 % of 1/s had ${words} in the last 1h. Degraded from 10 %, failure from 20 %.`);
  });
  test('without any judgement says so', () => {
    expect(why({ status: 'NA', window: '5m', judgements: [], replicas: null, replicasStatus: 'NA' })[0]?.words).toMatch(
      /^No requests in the last 5m/,
    );
  });
});

test('rows are sorted by a column, numbers by size, texts with numbers as people do', () => {
  const rows = [
    { name: 'a10', n: 2 },
    { name: 'a9', n: 10 },
  ];
  const columns = [
    { key: 'name', title: '', value: (row: (typeof rows)[0]) => row.name },
    { key: 'n', title: '', value: (row: (typeof rows)[0]) => row.n },
  ];
  const names = (sort: string) => sorted(rows, columns, sort).map((row) => row.name);
  expect([names('name'), names('-n'), names('n'), names('none')]).toEqual([
    ['a9', 'a10'],
    ['a9', 'a10'],
    ['a10', 'a9'],
    ['a10', 'a9'],
  ]);
});
