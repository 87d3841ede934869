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

/** What needs somebody, worst first, as the daemon says it: `<deployment> is <state>: <why>`, `<node>: <why>`. */
export const reasons = computed<readonly Reason[]>(() =>
  (state.overview.value?.needs ?? []).map((need) => {
    const [, what = need, cause = ''] = /^(.{1,120}?): (.*)$/s.exec(need) ?? [];
    const [id] = what.split(' is ');
    const deployment = state.deployments.items.value.find((one) => one.id === id);
    const node = state.nodes.items.value.find((one) => one.name === what);
    return {
      severity: what.endsWith(' is failed') ? 'critical' : 'warning',
      what,
      cause,
      impact: '',
      since: deployment?.unhealthy_since ?? null,
      link: deployment ? `/deployments/active?open=${encodeURIComponent(deployment.id)}` : node ? '/gpus/devices' : '/logs',
    };
  }),
);

/** The verdict on the fleet, as long as it is fresh: dead data is never green. */
export const word = computed<Word>(() => {
  if (!state.overview.value || lost.value || state.overview.failure) return 'unknown';
  return reasons.value.length ? 'degraded' : 'healthy';
});

