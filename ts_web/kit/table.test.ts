import { html, render } from 'lit';
import { afterEach, expect, test } from 'vitest';
import { page, userEvent } from 'vitest/browser';
import { navigate, startRouter } from '../router.ts';
import './table.ts';
import type { Column, MgTable } from './table.ts';

interface Row {
  readonly name: string;
  readonly size: number;
}

const columns: readonly Column<Row>[] = [
  { id: 'name', label: 'Name', main: true, cell: (row) => html`<a href=${`#${row.name}`}>${row.name}</a>`, sort: (row) => row.name },
  { id: 'size', label: 'Size', numeric: true, cell: (row) => String(row.size), sort: (row) => row.size },
  { id: 'extra', label: 'Extra', optional: true, cell: () => 'extra' },
];
const rowsOf = (...sizes: number[]): Row[] => sizes.map((size, i) => ({ name: `row-${i}`, size }));

const host = document.createElement('div');
document.body.append(host);
const stop = startRouter();
const start = location.pathname;

async function shown(rows: readonly Row[], width = 900): Promise<MgTable<Row>> {
  host.style.width = `${width}px`;
  render(html`<mg-table name="test" label="rows" .columns=${columns} .rows=${rows} .rowKey=${(row: Row) => row.name}></mg-table>`, host);
  const table = host.querySelector<MgTable<Row>>('mg-table');
  if (!table) throw new Error('no table');
  await table.updateComplete;
  return table;
}

const names = (table: MgTable<Row>): string[] =>
  [...(table.shadowRoot?.querySelectorAll('tbody tr[data-key]') ?? [])].map((row) => row.getAttribute('data-key') ?? '');
const rowCount = (table: MgTable<Row>): string | null | undefined => table.shadowRoot?.querySelector('table')?.getAttribute('aria-rowcount');

afterEach(() => {
  render(html``, host);
  localStorage.clear();
  navigate(start, { replace: true });
  scrollTo(0, 0);
});

test('sorts by a heading, and the URL says so', async () => {
  const table = await shown(rowsOf(2, 3, 1));
  await page.getByRole('button', { name: 'Size' }).click();
  expect(names(table)).toEqual(['row-2', 'row-0', 'row-1']);
  expect(new URLSearchParams(location.search).get('sort')).toBe('size');
  await page.getByRole('button', { name: 'Size' }).click();
  expect(new URLSearchParams(location.search).get('sort')).toBe('-size');
  expect(table.shadowRoot?.querySelector('th[aria-sort]')?.getAttribute('aria-sort')).toBe('descending');
});

test('filters by what is typed, and a link with a filter opens filtered', async () => {
  navigate(`${start}?q=row-1`);
  const table = await shown(rowsOf(1, 2, 3));
  expect(names(table)).toEqual(['row-1']);
  await page.getByRole('searchbox').fill('nothing like that');
  await expect.element(page.getByText('No rows match this filter.')).toBeVisible();
});

test('moves no row while the pointer is on it, and settles when it leaves', async () => {
  navigate(`${start}?sort=size`);
  const table = await shown(rowsOf(1, 2, 3));
  await userEvent.hover(page.getByRole('cell', { name: 'row-1' }));
  await shown([{ name: 'row-0', size: 9 }, { name: 'row-2', size: 3 }, { name: 'new', size: 0 }]);
  expect(names(table)).toEqual(['row-0', 'row-1', 'row-2', 'new']);
  expect(table.shadowRoot?.querySelector('[data-key=row-1]')?.className).toContain('gone');
  await userEvent.hover(page.getByRole('searchbox'));
  await expect.poll(() => names(table)).toEqual(['new', 'row-2', 'row-0']);
});

test('a click on a row opens its link; j, k and Enter do the same', async () => {
  const table = await shown(rowsOf(1, 2));
  await page.getByRole('cell', { name: '2' }).click();
  expect(location.hash).toBe('#row-1');
  table.step(-1);
  await userEvent.keyboard('{Enter}');
  expect(location.hash).toBe('#row-0');
});

test('keeps the choice of columns', async () => {
  let table = await shown(rowsOf(1));
  const headings = (): string[] => [...(table.shadowRoot?.querySelectorAll('th') ?? [])].map((th) => th.textContent.trim());
  expect(headings()).toEqual(['Name', 'Size']);
  await page.getByRole('button', { name: 'Choose columns' }).click();
  await page.getByRole('checkbox', { name: 'Extra' }).click();
  expect(headings()).toEqual(['Name', 'Size', 'Extra']);
  render(html``, host);
  table = await shown(rowsOf(1));
  expect(headings()).toEqual(['Name', 'Size', 'Extra']);
});

test('shows five hundred rows at a time', async () => {
  const table = await shown(rowsOf(...Array.from({ length: 1200 }, (_, i) => i)));
  expect(rowCount(table)).toBe('501'); // with the row of headings
  await page.getByRole('link', { name: 'Next' }).click();
  await expect.poll(() => names(table)[0]).toBe('row-500');
  await expect.element(page.getByText('Page 2 of 3')).toBeVisible();
});

test('has of many rows those near what is seen, however one comes there, and takes as much room as all', async () => {
  const table = await shown(rowsOf(...Array.from({ length: 300 }, (_, i) => i)));
  await expect.poll(() => table.offsetHeight).toBeLessThan(300 * 36); // once a row was measured
  const whole = table.offsetHeight;
  expect(names(table).length).toBeLessThan(80);
  expect(names(table)[0]).toBe('row-0');
  expect(whole).toBeGreaterThan(300 * 25);
  scrollTo(0, document.documentElement.scrollHeight);
  await expect.poll(() => names(table).at(-1)).toBe('row-299');
  expect(names(table).length).toBeLessThan(80);
  expect(table.shadowRoot?.querySelector('[data-key=row-299]')?.getAttribute('aria-rowindex')).toBe('301');
  expect(Math.abs(table.offsetHeight - whole)).toBeLessThan(whole / 10);
  scrollTo(0, 0);
  await expect.poll(() => names(table)).toContain('row-1');
  for (let i = 0; i < 120; i += 1) {
    table.step(1);
    await table.updateComplete;
  }
  await expect.poll(() => table.shadowRoot?.activeElement?.getAttribute('data-key')).toBe('row-119');
});

test('keeps the widths of columns while one scrolls to other rows', async () => {
  const rows = rowsOf(...Array.from({ length: 300 }, (_, i) => i)).map((row, i) => (i === 250 ? { ...row, name: 'a name that is much longer than all the others' } : row));
  const table = await shown(rows, 500);
  const widths = (): string => [...(table.shadowRoot?.querySelectorAll('th') ?? [])].map((th) => Math.round(th.offsetWidth)).join(' ');
  await expect.poll(() => table.offsetHeight).toBeLessThan(300 * 36);
  const before = widths();
  // Rows are taken for as high as the usual one until they were there, so the end may move once.
  const atTheEnd = (): string[] => {
    scrollTo(0, document.documentElement.scrollHeight);
    return names(table);
  };
  await expect.poll(atTheEnd, { timeout: 20_000 }).toContain('row-299');
  expect(widths()).toBe(before);
});

test('turns rows into cards where it is narrow, with the heading beside each value', async () => {
  const table = await shown(rowsOf(7), 340);
  await expect.poll(() => table.cards).toBe(true);
  const cell = table.shadowRoot?.querySelectorAll('td')[1];
  expect(cell && getComputedStyle(cell, '::before').content).toBe('"Size"');
});

test('shows what strangers wrote as text', async () => {
  const evil = '<img src=x onerror=alert(1)>\u202e\u001b[31m' + '😀'.repeat(10) + 'x'.repeat(10_000);
  const table = await shown([{ name: evil, size: 1 }], 800);
  expect(table.shadowRoot?.querySelector('img')).toBeNull();
  expect(table.shadowRoot?.querySelector('td')?.textContent).toContain('<img src=x');
  expect(host.scrollWidth).toBeLessThanOrEqual(800);
});

void stop;
