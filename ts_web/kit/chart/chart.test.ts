import { html, render } from 'lit';
import { afterEach, expect, test } from 'vitest';
import { page } from 'vitest/browser';
import { occupied } from '../histogram.ts';
import { columns, few, thinned, type Line } from './lines.ts';
import './mg-chart.ts';
import type { MgChart } from './mg-chart.ts';

const line = (label: string, ...values: (number | null)[]): Line => ({ label, points: values.map((value, i) => [i, value]) });
const host = document.createElement('div');
document.body.append(host);
afterEach(() => render(html``, host));

test('lines become columns; where one has no point there is a gap', () => {
  const late: Line = { label: 'b', points: [[1, 5], [3, 6]] };
  expect(columns([line('a', 1, 2), late])).toEqual([[0, 1, 3], [1, 2, null], [null, 5, 6]]);
  expect(columns([])).toEqual([[]]);
});

test('of too many lines the largest stay, and the others are added up', () => {
  const lines = ['a1', 'a2', 'a10', 'a3'].map((label, i) => line(label, i, null, i));
  expect(few(lines, 4)).toBe(lines);
  expect(few(lines, 3)).toEqual([lines[3], lines[2], { label: '2 others', points: [[0, 1], [1, null], [2, 1]] }]);
});

test('a table shows rows that are evenly spread, up to the newest', () => {
  const data = columns([line('a', ...Array.from({ length: 100 }, (_, i) => i))]);
  expect(thinned(data, 4)).toEqual([[24, 24], [49, 49], [74, 74], [99, 99]]);
  expect(thinned([[]], 4)).toEqual([]);
});

test('a histogram begins and ends where something is', () => {
  const buckets = [0, 2, 0, 1, 0].map((count, i) => ({ le: i, count }));
  expect(occupied(buckets).map((bucket) => bucket.le)).toEqual([1, 2, 3]);
  expect(occupied([{ le: null, count: 0 }])).toEqual([]);
});

test('a chart tells its newest values, draws them, and has a table of them', async () => {
  const show = (value: number | null): string => (value === null ? '—' : `${value} /s`);
  const chart = (lines: readonly Line[]): unknown =>
    html`<mg-chart heading="Rate" .lines=${lines} .show=${show} .from=${0} .to=${2}></mg-chart>`;
  render(chart([]), host);
  await expect.element(page.getByText('Nothing was measured')).toBeVisible();
  render(chart([line('a', 1, 2, 3), line('b', 1, 4, null)]), host);
  await expect.element(page.getByRole('img', { name: 'Rate: a 3 /s, b 4 /s' })).toBeVisible(); // the newest step is still measured
  const element = host.querySelector('mg-chart') as MgChart;
  await expect.poll(() => element.shadowRoot?.querySelectorAll('canvas').length).toBe(1);
  await page.getByText('As a table').click();
  await expect.poll(() => element.shadowRoot?.querySelectorAll('tbody tr').length).toBe(3);
  expect(element.shadowRoot?.querySelector('tbody tr:last-child')?.textContent).toMatch(/3 \/s—$/);
});
