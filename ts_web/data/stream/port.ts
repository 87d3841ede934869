import { StreamHub } from './hub.ts';
import type { FromTab, ToTab } from './protocol.ts';

/** A tab's end of the shared stream. */
export interface StreamPort {
  send(message: FromTab): void;
}

/**
 * Open this tab's end: a SharedWorker where the browser has one; else the tabs elect a leader by a lock, which owns the
 * connection and speaks with the others over a channel; else (no locks: plain HTTP from another machine) a connection
 * of this tab's own.
 */
export function openPort(hear: (message: ToTab) => void, hello: () => void): StreamPort {
  const port =
    'SharedWorker' in window ? overWorker(hear) : navigator.locks ? overLeader(hear, hello) : alone(hear);
  const alive = setInterval(() => port.send({ type: 'alive' }), 30_000);
  window.addEventListener('pagehide', () => (clearInterval(alive), port.send({ type: 'bye' })));
  window.addEventListener('pageshow', (event) => {
    if (event.persisted) location.reload();
  });
  hello();
  return port;
}

function overWorker(hear: (message: ToTab) => void): StreamPort {
  const worker = new SharedWorker(new URL('./worker.ts', import.meta.url), { type: 'module', name: 'modelgrid-stream' });
  worker.port.onmessage = (event: MessageEvent<ToTab>) => hear(event.data);
  return { send: (message) => worker.port.postMessage(message) };
}

function alone(hear: (message: ToTab) => void): StreamPort {
  const hub = new StreamHub();
  hub.join('0', hear);
  return { send: (message) => hub.hear('0', message) };
}

type OnChannel =
  | { readonly to: 'leader'; readonly from: string; readonly message: FromTab }
  | { readonly to: string; readonly message: ToTab }
  | { readonly to: 'all'; readonly leads: string };

/** `hello` is called whenever a leader begins, so that this tab says again what it follows. */
function overLeader(hear: (message: ToTab) => void, hello: () => void): StreamPort {
  const me = `${Date.now()}.${Math.random()}`;
  const channel = new BroadcastChannel('modelgrid-stream');
  let hub: StreamHub | null = null;
  const known = new Set<string>();

  const toHub = (from: string, message: FromTab): void => {
    if (!hub) return;
    if (!known.has(from)) {
      known.add(from);
      hub.join(from, (answer) => (from === me ? hear(answer) : channel.postMessage({ to: from, message: answer })));
    }
    hub.hear(from, message);
  };
  channel.onmessage = ({ data }: MessageEvent<OnChannel>) => {
    if ('leads' in data) hello();
    else if (data.to === 'leader' && 'from' in data) toHub(data.from, data.message);
    else if (data.to === me) hear(data.message as ToTab);
  };
  void navigator.locks.request('modelgrid-stream-leader', async () => {
    hub = new StreamHub();
    hello();
    channel.postMessage({ to: 'all', leads: me });
    await new Promise(() => undefined);
  });
  return {
    send: (message) => (hub ? toHub(me, message) : channel.postMessage({ to: 'leader', from: me, message })),
  };
}
