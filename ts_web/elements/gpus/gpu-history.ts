import { effect, signal } from '@preact/signals-core';
import { gpuKey, state } from '../../appstate.ts';
import { daemonTime } from '../../kit/clock.ts';
import type { Point } from '../../kit/sparkline.ts';

/** The utilisation of every GPU since this page was opened, fifteen minutes at most: one reading a second. */
const KEPT_SECONDS = 15 * 60;

const points = new Map<string, Point[]>();
const version = signal(0);
let holders = 0;
let stop: (() => void) | undefined;

function note(): void {
  const at = daemonTime();
  for (const view of state.gpus.items.value) {
    const key = gpuKey(view);
    const own = points.get(key) ?? [];
    const last = own.at(-1);
    if (last && at - last[0] < 1) continue;
    const fresh: Point = [at, view.stale ? null : (view.gpu.utilization_percent ?? null)];
    points.set(key, [...own.filter(([then]) => then > at - KEPT_SECONDS), fresh]);
  }
}

export const gpuHistory = {
  /** Take notes until the returned function is called. */
  hold(): () => void {
    holders += 1;
    stop ??= effect(() => {
      note();
      version.value = version.peek() + 1;
    });
    return () => {
      holders -= 1;
      if (holders > 0) return;
      stop?.();
      stop = undefined;
    };
  },
  /** The points of one GPU, oldest first. */
  of(key: string): readonly Point[] {
    void version.value;
    return points.get(key) ?? [];
  },
};
