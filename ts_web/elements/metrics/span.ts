import { param } from '../../router.ts';

/** What the address can ask for: its name, its words, its seconds, and the seconds between two points. */
export const RANGES = [
  ['15m', '15 min', 900, 5],
  ['1h', '1 h', 3_600, 10],
  ['6h', '6 h', 21_600, 60],
  ['24h', '24 h', 86_400, 240],
] as const;

const POINTS = 400;
const COARSE = 10;

export interface Span {
  /** The name of the range; empty for a part that was drawn. */
  readonly name: string;
  readonly seconds: number;
  readonly step: number;
  /** Unix seconds of the end; without it the end is now. */
  readonly until?: number;
}

/** The time that the address asks for: `range=1h`, or `from` and `to` in Unix seconds. */
export function spanOfAddress(): Span {
  const [from, to] = [Number(param('from')), Number(param('to'))];
  if (from > 0 && to > from) {
    const seconds = to - from;
    return { name: '', seconds, step: Math.max(1, Math.ceil(seconds / POINTS / COARSE) * (seconds > POINTS ? COARSE : 1)), until: to };
  }
  const [name, , seconds, step] = RANGES.find(([one]) => one === param('range')) ?? RANGES[0];
  return { name, seconds, step };
}
