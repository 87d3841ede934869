import { signal } from '@preact/signals-core';

let ahead = 0;

/** Unix seconds by the daemon's clock, ticking once a second while the page is visible. */
export const now = signal(Date.now() / 1000);

/** The daemon's time at this moment, not only at the last tick. */
export function daemonTime(): number {
  return Date.now() / 1000 + ahead;
}

/** Take over the daemon's clock: browsers' clocks are often wrong, and ages must not be. */
export function setDaemonTime(at: number): void {
  const measured = at - Date.now() / 1000;
  // What is within a second is the way over the network, not a wrong clock.
  if (Math.abs(measured - ahead) > 1) ahead = measured;
}

function tick(): void {
  if (!document.hidden) now.value = daemonTime();
}

setInterval(tick, 1000);
document.addEventListener('visibilitychange', tick);
