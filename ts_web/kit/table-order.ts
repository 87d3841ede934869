/** What a table shows and in which order: pure functions of rows and columns. */

import { natural } from './natural.ts';

export interface Column<T> {
  readonly id: string;
  /** The heading; empty for actions. */
  readonly label: string;
  /** What stands in the cell: text or a template. */
  cell(row: T): unknown;
  /** The value to sort by; without it the column cannot be sorted. Unknown values (`null`) come last. */
  sort?(row: T): string | number | null | undefined;
  /** What the filter looks at; without it the value to sort by. */
  text?(row: T): string;
  readonly numeric?: boolean;
  readonly nowrap?: boolean;
  /** Names the row: first, never hidden, the title of the card on narrow screens. */
  readonly main?: boolean;
  readonly actions?: boolean;
  /** Left out where the table has fewer pixels than this, and is no cards. */
  readonly room?: number;
  /** Hidden until it is chosen. */
  readonly optional?: boolean;
}

export interface Ordered<T> {
  readonly key: string;
  readonly row: T;
  /** It is no longer among the rows, and stays only because nothing may move now. */
  readonly gone: boolean;
}

/** Return the rows that have every word of `filter` somewhere. */
export function matching<T>(rows: readonly T[], columns: readonly Column<T>[], filter: string): readonly T[] {
  const words = filter.toLowerCase().split(/\s+/).filter(Boolean);
  if (words.length === 0) return rows;
  return rows.filter((row) => {
    const text = columns
      .map((column) => column.text?.(row) ?? String(column.sort?.(row) ?? ''))
      .join(' ')
      .toLowerCase();
    return words.every((word) => text.includes(word));
  });
}

/** Return the rows in the order that `sort` names (`name`, or `-name` downwards); equal rows keep theirs. */
export function sorted<T>(rows: readonly T[], columns: readonly Column<T>[], sort: string): readonly T[] {
  const downwards = sort.startsWith('-');
  const value = columns.find((column) => column.id === sort.replace(/^-/, ''))?.sort;
  if (!value) return rows;
  return [...rows].sort((a, b) => {
    const [left, right] = [value(a) ?? null, value(b) ?? null];
    if (left === null || right === null) return Number(left === null) - Number(right === null);
    const order = typeof left === 'number' && typeof right === 'number' ? left - right : natural(String(left), String(right));
    return downwards ? -order : order;
  });
}

/** Return `fresh` in the order of `before`: what was there keeps its place (gone or not), what is new comes last. */
export function keepOrder<T>(before: readonly Ordered<T>[], fresh: readonly Ordered<T>[]): readonly Ordered<T>[] {
  const now = new Map(fresh.map((entry) => [entry.key, entry]));
  const kept = before.map((entry) => now.get(entry.key) ?? { ...entry, gone: true });
  const known = new Set(before.map((entry) => entry.key));
  return [...kept, ...fresh.filter((entry) => !known.has(entry.key))];
}
