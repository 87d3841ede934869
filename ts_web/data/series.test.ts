import { expect, test } from 'vitest';
import { latest, quotient } from './series.ts';

test('takes the newest value that is known and not too old', () => {
  expect(latest([[1, 5], [6, 7], [11, null]], 10)).toBe(7);
  expect(latest([[1, 5], [6, null], [11, null]], 5)).toBeNull();
  expect(latest([], 10)).toBeNull();
});

test('divides point by point, and never by nothing', () => {
  expect(quotient([[1, 1], [2, 0], [3, 1], [4, null], [5, 1]], [[1, 4], [2, 2], [3, 0], [4, 2]])).toEqual([[1, 0.25], [2, 0], [3, null], [4, null], [5, null]]);
});
