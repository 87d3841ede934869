import { natural } from '../natural.ts';
import type { Point } from '../sparkline.ts';

/** One line of a chart. */
export interface Line {
  readonly label: string;
  readonly points: readonly Point[];
}

/** As many lines as can be told apart. */
export const MOST_LINES = 6;

/** Return the lines as columns with one column of times in front; where a line has no point there is a gap. */
export function columns(lines: readonly Line[]): (number | null)[][] {
  const times = [...new Set(lines.flatMap((line) => line.points.map(([at]) => at)))].sort((a, b) => a - b);
  const values = lines.map((line) => {
    const known = new Map(line.points);
    return times.map((at) => known.get(at) ?? null);
  });
  return [times, ...values];
}

/** Keep the largest lines, and add the others up in one. */
export function few(lines: readonly Line[], most = MOST_LINES): readonly Line[] {
  if (lines.length <= most) return lines;
  const sum = (line: Line): number => line.points.reduce((total, [, value]) => total + (value ?? 0), 0);
  const byName = (a: Line, b: Line): number => natural(a.label, b.label);
  const ranked = [...lines].sort((a, b) => sum(b) - sum(a) || byName(a, b));
  const rest = ranked.slice(most - 1);
  const totals = new Map<number, number | null>();
  for (const [at, value] of rest.flatMap((line) => line.points)) {
    const before = totals.get(at) ?? null;
    totals.set(at, value === null ? before : (before ?? 0) + value);
  }
  return [...ranked.slice(0, most - 1).sort(byName), { label: `${rest.length} others`, points: [...totals].sort(([a], [b]) => a - b) }];
}

/** Return at most `most` of the rows of columns, evenly spread, the newest among them. */
export function thinned(data: readonly (readonly (number | null)[])[], most: number): (number | null)[][] {
  const many = data[0]?.length ?? 0;
  const step = Math.max(1, Math.ceil(many / most));
  const rows: (number | null)[][] = [];
  for (let i = many - 1; i >= 0; i -= step) rows.push(data.map((column) => column[i] ?? null));
  return rows.reverse();
}
