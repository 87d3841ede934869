import type { GpuView, Schemas } from '../../appstate.ts';
import { bytes } from '../../kit/format.ts';
import type { Kind } from '../../kit/status.ts';

export type CatalogView = Schemas['CatalogView'];

export interface Fit {
  readonly kind: Kind;
  readonly word: string;
}

/**
 * Whether an entry would find room now, from the newest readings alone: a hint for the list. The daemon's own decision,
 * which also knows of promises and pins, is the preview in the deploy dialog.
 */
export function fitOf(entry: CatalogView, gpus: readonly GpuView[]): Fit {
  const need = entry.vram_bytes;
  const wanted = Math.max(1, entry.default_gpus);
  const byNode = new Map<string, GpuView[]>();
  for (const view of gpus) byNode.set(view.node, [...(byNode.get(view.node) ?? []), view]);
  const nodes = [...byNode.values()];
  if (nodes.length === 0) return { kind: 'unknown', word: 'no GPU' };
  const most = (has: (view: GpuView) => boolean): number => Math.max(...nodes.map((own) => own.filter(has).length));
  if (most(({ gpu }) => gpu.vram_free_bytes >= need) >= wanted) return { kind: 'ok', word: 'fits now' };
  if (most(({ gpu }) => gpu.vram_total_bytes >= need) >= wanted) return { kind: 'warning', word: 'no room now' };
  const size = wanted > 1 ? `${wanted} × ${bytes(need)}` : bytes(need);
  return { kind: 'idle', word: `needs ${size}` };
}
