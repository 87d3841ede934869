import { gpuKey, type GpuView } from '../../appstate.ts';
import { LiveSeries } from '../../data/series.ts';
import type { Point } from '../../kit/sparkline.ts';

/** The utilisation of every GPU over the last fifteen minutes, a point every ten seconds. */
const SECONDS = 15 * 60;
const STEP = 10;

const utilisation = new LiveSeries(['gpu_utilization_percent'], SECONDS, STEP);

export const gpuHistory = {
  hold: (): (() => void) => utilisation.hold(),
  /** The points of one GPU, oldest first. */
  of(view: GpuView): readonly Point[] {
    const key = gpuKey(view);
    const found = utilisation.items.value.find(({ labels }) => `${labels['node']}/${labels['gpu']}` === key);
    return found?.points ?? [];
  },
};
