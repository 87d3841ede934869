import { expect, test } from 'vitest';
import { ago, bytes, coarse, duration, number, percent, plural } from './format.ts';

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
])('%s', (got, wanted) => {
  expect(got).toBe(wanted);
});
