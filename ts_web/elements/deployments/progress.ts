import type { DeploymentView } from '../../appstate.ts';
import { daemonTime } from '../../kit/clock.ts';
import { bytes, coarse } from '../../kit/format.ts';

/** What is going on with a deployment, in one line; empty when it simply runs. */
export function progressOf(one: DeploymentView): string {
  if (one.trouble) return one.trouble;
  if (one.state === 'pulling') return pullOf(one) || one.reason;
  if (one.state === 'starting') return one.phase || one.reason;
  if (one.state === 'running' && !one.unhealthy_since) return '';
  return one.reason;
}

/** Over so many seconds a rate is taken: long enough to be calm, short enough to be true. */
const WINDOW = 15;

/** When how many bytes of an image were there, by deployment, as far as this tab has seen it. */
const seen = new Map<string, (readonly [at: number, done: number])[]>();

/** Bytes per second of what was seen; `null` while it cannot be told. */
export function paceOf(points: readonly (readonly [at: number, done: number])[]): number | null {
  const [first, last] = [points[0], points.at(-1)];
  if (!first || !last || last[0] - first[0] < 1 || last[1] <= first[1]) return null;
  return (last[1] - first[1]) / (last[0] - first[0]);
}

function pace(id: string, done: number): number | null {
  const at = daemonTime();
  const points = (seen.get(id) ?? []).filter((point) => at - point[0] <= WINDOW && point[1] <= done);
  if (points.at(-1)?.[1] !== done) points.push([at, done]);
  seen.set(id, points);
  return paceOf(points);
}

/** Layers and bytes of an image pull, how fast they come, and how long that will take. */
export function pullOf(one: DeploymentView): string {
  const layers = one.pull?.layers ?? [];
  if (layers.length === 0) return '';
  const done = layers.reduce((sum, layer) => sum + (layer.done_bytes ?? 0), 0);
  const total = layers.reduce((sum, layer) => sum + (layer.total_bytes ?? layer.done_bytes ?? 0), 0);
  const rate = pace(one.id, done);
  const left = rate && total > done ? `, ${bytes(rate)}/s, ${coarse((total - done) / rate)} left` : '';
  return `${layers.length} layers, ${bytes(done)} of ${bytes(total)}${left}`;
}
