import type { DeploymentView } from '../../appstate.ts';
import { bytes } from '../../kit/format.ts';

/** What is going on with a deployment, in one line; empty when it simply runs. */
export function progressOf(one: DeploymentView): string {
  if (one.trouble) return one.trouble;
  if (one.state === 'pulling') return pullOf(one) || one.reason;
  if (one.state === 'starting') return one.phase || one.reason;
  if (one.state === 'running' && !one.unhealthy_since) return '';
  return one.reason;
}

/** Layers and bytes of an image pull. */
export function pullOf(one: DeploymentView): string {
  const layers = one.pull?.layers ?? [];
  if (layers.length === 0) return '';
  const done = layers.reduce((sum, layer) => sum + (layer.done_bytes ?? 0), 0);
  const total = layers.reduce((sum, layer) => sum + (layer.total_bytes ?? layer.done_bytes ?? 0), 0);
  return `${layers.length} layers, ${bytes(done)} of ${bytes(total)}`;
}
