import { expect, test } from 'vitest';
import { keepOrder, matching, sorted, type Column } from './table-order.ts';

interface Row {
  readonly name: string;
  readonly size: number | null;
}

const columns: readonly Column<Row>[] = [
  { id: 'name', label: 'Name', cell: (row) => row.name, sort: (row) => row.name },
  { id: 'size', label: 'Size', cell: (row) => row.size, sort: (row) => row.size },
];
const rows: readonly Row[] = [
  { name: 'node-10', size: 2 },
  { name: 'node-2', size: null },
  { name: 'Node-1', size: 7 },
];
const names = (found: readonly Row[]): string[] => found.map((row) => row.name);

test('sorts numbers in names as numbers, and what is unknown last, up or down', () => {
  expect(names(sorted(rows, columns, 'name'))).toEqual(['Node-1', 'node-2', 'node-10']);
  expect(names(sorted(rows, columns, 'size'))).toEqual(['node-10', 'Node-1', 'node-2']);
  expect(names(sorted(rows, columns, '-size'))).toEqual(['Node-1', 'node-10', 'node-2']);
  expect(sorted(rows, columns, 'nothing')).toBe(rows);
});

test('keeps the rows that have every word', () => {
  expect(names(matching(rows, columns, 'NODE 7'))).toEqual(['Node-1']);
  expect(matching(rows, columns, '  ')).toBe(rows);
});

test('moves no row while it is held: new ones come last, gone ones stay', () => {
  const entry = (key: string, value = 0): { key: string; row: number; gone: boolean } => ({ key, row: value, gone: false });
  const held = keepOrder([entry('b'), entry('a'), entry('c')], [entry('n'), entry('a', 1), entry('b', 2)]);
  expect(held).toEqual([entry('b', 2), entry('a', 1), { ...entry('c'), gone: true }, entry('n')]);
});
