import { computed } from '@preact/signals-core';
import { state } from '../../appstate.ts';

export interface ControlPlane {
  /** Its node name; its host where that is not known. */
  readonly name: string;
  readonly host: string;
  /** Where its console is, as it says itself; empty before it has. */
  readonly console: string;
  /** Whether `console` is for the machine of the control plane alone, and this node's is another. */
  readonly isPrivate: boolean;
}

/** Who decides for this worker; `null` for a node that decides itself, and for a worker that has joined nobody. */
export const controlPlane = computed<ControlPlane | null>(() => {
  const place = state.cluster.value;
  if (place?.role !== 'worker' || !place.control_plane_url || !URL.canParse(place.control_plane_url)) return null;
  const { hostname } = new URL(place.control_plane_url);
  return {
    name: place.control_plane ?? hostname,
    host: hostname,
    console: place.control_plane_console_url ?? '',
    isPrivate: place.control_plane_console_private,
  };
});

/** Why this node changes nothing about what runs where; empty when it does. */
export const decidedElsewhere = computed<string>(() => {
  if (state.cluster.value?.role !== 'worker') return '';
  return controlPlane.value ? `${controlPlane.value.name} decides this: go to its console.` : 'This worker has joined no control plane yet.';
});
