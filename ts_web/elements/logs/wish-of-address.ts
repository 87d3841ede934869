import type { LogWish } from '../../data/log-wish.ts';
import { param } from '../../router.ts';

/** Relative times of the address (`range=1h`), in seconds. */
export const RANGES: Readonly<Record<string, number>> = { '15m': 900, '1h': 3_600, '6h': 21_600, '24h': 86_400 };

function moment(text: string): number | null {
  const at = Number(text);
  return text && Number.isFinite(at) && at >= 0 ? at : null;
}

/** What the address asks for; `now`: Unix seconds that relative times count back from. */
export function wishOfAddress(now: number): LogWish {
  const back = RANGES[param('range')];
  return {
    node: param('node'),
    sources: param('source').split(',').filter(Boolean),
    level: param('level'),
    text: param('q'),
    expression: param('regex') !== '',
    since: back === undefined ? moment(param('since')) : Math.floor(now - back),
    until: back === undefined ? moment(param('until')) : null,
  };
}

/** The part of the address that is the wish: another one means another log. */
export function wishKey(): string {
  return ['node', 'source', 'level', 'q', 'regex', 'range', 'since', 'until'].map((name) => param(name)).join('\n');
}
