import type { GpuView } from '../../appstate.ts';
import type { Kind } from '../../kit/status.ts';

/** What a GPU's state means: a fault, heat, an old reading, work, or nothing to do. */
export function healthOf({ gpu, stale }: GpuView): readonly [Kind, string] {
  if (gpu.xid_errors?.length || gpu.ecc_uncorrected_errors) return ['critical', 'Fault'];
  if (stale) return ['unknown', 'Old reading'];
  if (gpu.throttle_reasons?.length) return ['warning', 'Throttled'];
  return (gpu.utilization_percent ?? 0) > 0 ? ['ok', 'Busy'] : ['idle', 'Idle'];
}
