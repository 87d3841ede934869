/// <reference lib="webworker" />
import { StreamHub } from './hub.ts';
import type { FromTab } from './protocol.ts';

/** The SharedWorker: owns the one connection of this browser to the daemon. */

declare const self: SharedWorkerGlobalScope;

const hub = new StreamHub();
let members = 0;

self.onconnect = (event) => {
  const port = event.ports[0];
  if (!port) return;
  const id = String(++members);
  hub.join(id, (message) => port.postMessage(message));
  port.onmessage = (said: MessageEvent<FromTab>) => hub.hear(id, said.data);
};
