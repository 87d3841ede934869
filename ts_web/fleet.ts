import { computed } from '@preact/signals-core';
import { lost, state } from './appstate.ts';

export type Word = 'healthy' | 'degraded' | 'down' | 'unknown';

/** Something that needs somebody. */
export interface Reason {
  readonly severity: 'critical' | 'warning';
  readonly what: string;
  readonly cause: string;
  readonly impact: string;
  readonly since: number | null;
  /** Where to go about it; a path of the console. */
  readonly link: string;
}

/** What needs somebody, worst first, as the daemon says it. Its notes change no verdict and are not among them. */
export const reasons = computed<readonly Reason[]>(() =>
  (state.overview.value?.reasons ?? []).flatMap(({ severity, cause, impact, since, link }) => {
    if (severity === 'note') return [];
    const [, what = cause, why = ''] = /^(.{1,120}?): (.*)$/s.exec(cause) ?? [];
    return [{ severity, what: what.replace(/\.$/, ''), cause: why, impact, since: since ?? null, link }];
  }),
);

export type Part = 'nodes' | 'gpus' | 'deployments' | 'api';

/** The tile that a reason belongs to, by where it leads; whatever is the daemon's own is the API's. */
export function partOf({ link }: Pick<Reason, 'link'>): Part {
  if (link.startsWith('/cluster/nodes')) return 'nodes';
  if (link.startsWith('/gpus/')) return 'gpus';
  return link.startsWith('/deployments/') || link.startsWith('/cluster/') ? 'deployments' : 'api';
}

/** The daemon's verdict on the fleet, as long as it is fresh: dead data is never green. */
export const word = computed<Word>(() => {
  const overview = state.overview.value;
  return !overview || lost.value || state.overview.failure ? 'unknown' : overview.verdict;
});
