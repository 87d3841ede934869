import { computed } from '@preact/signals-core';
import { gpuKey, type GpuView } from '../../appstate.ts';
import { LiveSeries } from '../../data/series.ts';
import type { Point } from '../../kit/sparkline.ts';

/** The utilisation of every GPU over the last fifteen minutes, a point every ten seconds. */
const SECONDS = 15 * 60;
const STEP = 10;
const NONE: readonly Point[] = [];

const utilisation = new LiveSeries(['gpu_utilization_percent'], SECONDS, STEP);
const byGpu = computed(() => new Map(utilisation.items.value.map(({ labels, points }) => [`${labels['node']}/${labels['gpu']}`, points])));

export const gpuHistory = {
  hold: (): (() => void) => utilisation.hold(),
  /** The points of one GPU, oldest first; the same list until there are new ones. */
  of: (view: GpuView): readonly Point[] => byGpu.value.get(gpuKey(view)) ?? NONE,
};
