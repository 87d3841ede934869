import { computed, effect } from '@preact/signals-core';
import { lost, state } from './appstate.ts';
import { reasons, word } from './fleet.ts';
import { view } from './router.ts';
import { areaOf } from './views.ts';

/** What the tab says: what is wrong comes first, so that it is seen in a row of tabs. */
const title = computed(() => {
  const at = view.value;
  const area = at && areaOf(at.path);
  const name = !at || !area ? 'Not found' : at.title === area.title ? at.title : `${area.title} ▸ ${at.title}`;
  const many = reasons.value.length;
  return `${word.value === 'unknown' ? '? · ' : many ? `! ${many} · ` : ''}${name} · ModelGrid`;
});

/** Keep the title and the icon of the tab at the verdict; returns what stops it. */
export function startVerdict(): () => void {
  return effect(() => {
    document.title = title.value;
    // While the first answer is on its way nothing is known to be unknown.
    if (state.overview.loaded || state.overview.problem || lost.value) document.getElementById('favicon')?.setAttribute('href', `/favicon-${word.value}.svg`);
  });
}

/** What is wrong in an area, for its mark in the rail: the reasons that link there. */
export function problemsOf(area: string): { readonly worst: 'critical' | 'warning' | null; readonly many: number } {
  const own = reasons.value.filter((reason) => areaOf(reason.link)?.name === area);
  if (own.length === 0) return { worst: null, many: 0 };
  return { worst: own.some((reason) => reason.severity === 'critical') ? 'critical' : 'warning', many: own.length };
}
