import { expect, test } from 'vitest';
import { absolute, ago, bytes, clock, coarse, duration, moment, number, percent, plural } from './format.ts';

test.each([
  [number(0), '0'],
  [number(null), '—'],
  [number(Number.NaN), '—'],
  [number(0.05123), '0.0512'],
  [number(5.126), '5.13'],
  [number(99.96), '100'],
  [number(512.4), '512'],
  [number(5123), '5,123'],
  [number(51_234), '51.2k'],
  [number(999_700), '1M'],
  [number(-3.5), '-3.5'],
  [bytes(0), '0'],
  [bytes(17.62 * 1024 ** 3), '17.6 GiB'],
  [bytes(80 * 1024 ** 2), '80 MiB'],
  [percent(64.4), '64 %'],
  [percent(0.81), '0.81 %'],
  [duration(0.8204), '820 ms'],
  [duration(0.00051), '0.51 ms'],
  [duration(12.44), '12.4 s'],
  [duration(184), '3 min 4 s'],
  [coarse(7500), '2 h 5 min'],
  [coarse(200_000), '2 d 7 h'],
  [ago(95, 100), '5 s ago'],
  [ago(100, 100.4), 'just now'],
  [ago(160, 100), 'in 1 min'],
  [plural(1, 'node'), '1 node'],
  [plural(2000, 'node'), '2,000 nodes'],
  [plural(1_234_567, 'line'), '1,234,567 lines'],
  [number(-1_234), '-1,234'],
])('%s', (got, wanted) => {
  expect(got).toBe(wanted);
});

test.each([1_764_234_305, 1_782_000_000.9])('%d is told in the time of the browser', (at) => {
  const local = new Date(at * 1000);
  expect(moment(at)).toBe(local.toLocaleString('sv'));
  expect(clock(at)).toBe(local.toLocaleTimeString('sv'));
  const [, sign, hours, minutes] = /UTC(?:([+−])(\d+)(?::(\d\d))?)?$/.exec(absolute(at)) ?? [];
  const east = (sign === '−' ? -1 : 1) * (Number(hours ?? 0) * 60 + Number(minutes ?? 0));
  expect(Date.parse(`${moment(at).replace(' ', 'T')}Z`) / 1000).toBe(Math.floor(at) + east * 60);
  expect([absolute(null), clock(undefined)]).toEqual(['—', '—']);
});
