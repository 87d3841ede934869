import { computed } from '@preact/signals-core';
import { state } from '../../appstate.ts';

/** Port of a console whose configuration says nothing else. A node knows where its control plane answers nodes only. */
const CONSOLE_PORT = 8081;

export interface ControlPlane {
  /** Its node name; its host where that is not known. */
  readonly name: string;
  /** Where its console is unless it was moved. */
  readonly href: string;
  readonly host: string;
}

/** Who decides for this worker; `null` for a node that decides itself, and for a worker that has joined nobody. */
export const controlPlane = computed<ControlPlane | null>(() => {
  const place = state.cluster.value;
  if (place?.role !== 'worker' || !place.control_plane_url || !URL.canParse(place.control_plane_url)) return null;
  const { hostname } = new URL(place.control_plane_url);
  return { name: place.control_plane ?? hostname, href: `http://${hostname}:${CONSOLE_PORT}`, host: hostname };
});

/** Why this node changes nothing about what runs where; empty when it does. */
export const decidedElsewhere = computed<string>(() => {
  if (state.cluster.value?.role !== 'worker') return '';
  return controlPlane.value ? `${controlPlane.value.name} decides this: go to its console.` : 'This worker has joined no control plane yet.';
});
