import type { GpuView } from '../../appstate.ts';
import type { Kind } from '../../kit/status.ts';

/** What a GPU's state means: a fault that the daemon sees, an old reading, work, or nothing to do. */
export function healthOf({ gpu, stale, faults }: GpuView): readonly [Kind, string] {
  const worst = faults[0]?.severity;
  if (worst === 'critical') return ['critical', 'Fault'];
  if (stale) return ['unknown', 'Old reading'];
  if (worst === 'warning') return ['warning', 'Throttled'];
  return (gpu.utilization_percent ?? 0) > 0 ? ['ok', 'Busy'] : ['idle', 'Idle'];
}
