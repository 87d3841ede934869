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

/** What needs somebody, worst first, as the daemon says it. */
export const reasons = computed<readonly Reason[]>(() =>
  (state.overview.value?.needs ?? []).map((need) => {
    const colon = need.indexOf(': ');
    const failed = need.includes(' is failed');
    return {
      severity: failed ? 'critical' : 'warning',
      what: colon < 0 ? need : need.slice(0, colon),
      cause: colon < 0 ? '' : need.slice(colon + 2),
      impact: '',
      since: null,
      link: '/gpus/devices',
    };
  }),
);

/** The verdict on the fleet, as long as it is fresh: dead data is never green. */
export const word = computed<Word>(() => {
  if (!state.overview.value || lost.value || state.overview.failure) return 'unknown';
  return reasons.value.length ? 'degraded' : 'healthy';
});

