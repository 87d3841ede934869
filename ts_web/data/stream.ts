import { batch, computed, signal } from '@preact/signals-core';
import { now, setDaemonTime } from '../kit/clock.ts';
import { oldest } from './client.ts';
import { openPort, type StreamPort } from './stream/port.ts';
import type { Change, Link, ToTab } from './stream/protocol.ts';

/** This tab's view of the one stream: what it follows, how the link stands, and the pause. */

export interface Listener {
  changes(changes: readonly Change[]): void;
  /** What came before is lost: load anew, keep the old data meanwhile. */
  reset(): void;
  /** The link is back: try again what failed without it. */
  revived(): void;
}

export const link = signal<Link>({ state: 'connecting', heardAt: 0, retryAt: 0, why: '' });
/** Live data is frozen for reading. */
export const paused = signal(false);
/** How many changes wait for the end of the pause. */
export const waiting = signal(0);
/** Browser seconds of the last beat or change. */
const heardAt = signal(0);

/** Seconds since the daemon was last heard, by this browser's clock; infinite before. Ticks. */
export const silence = computed(() => {
  void now.value;
  return heardAt.value === 0 ? Infinity : Math.max(0, Date.now() / 1000 - heardAt.value);
});
/** A try has failed, and none has worked since: the next one under way changes nothing. */
const broken = computed(() => link.value.state !== 'live' && link.value.why !== '');
/** Nothing vouches for what is shown: the link has been down for more than a beat, or three beats are missing. */
export const stale = computed(() => {
  if (heardAt.value === 0) return broken.value;
  return silence.value > 15 || (link.value.state !== 'live' && silence.value > 6);
});
/** Not even the verdict can be trusted: nothing was heard for 15 seconds, or ever. */
export const lost = computed(() => (heardAt.value === 0 ? broken.value : silence.value > 15));

/** More than this is not kept during a pause: what is shown is loaded anew at its end. */
const LONGEST_QUEUE = 5_000;

const listeners = new Map<string, Set<Listener>>();
let port: StreamPort | null = null;
let queue: Change[] = [];
let overflow = false;

/** Follow a topic for as long as somebody does; returns what ends it. */
export function follow(topic: string, listener: Listener): () => void {
  const all = listeners.get(topic) ?? new Set();
  all.add(listener);
  listeners.set(topic, all);
  tellTopics();
  return () => {
    all.delete(listener);
    if (all.size === 0 && listeners.get(topic) === all) listeners.delete(topic);
    tellTopics();
  };
}

function tellTopics(): void {
  port?.send({ type: 'topics', topics: [...listeners.keys()], since: oldest() });
}

/** Open the stream after a login. */
export function openStream(): void {
  if (port) {
    // Another login than before: what was loaded may be old, and what was refused may now be had.
    tellTopics();
    port.send({ type: 'kick' });
    resetAll();
    return;
  }
  port = openPort(hear, () => queueMicrotask(tellTopics));
  const kick = (): void => {
    if (!document.hidden) port?.send({ type: 'kick' });
  };
  window.addEventListener('online', kick);
  window.addEventListener('focus', kick);
  document.addEventListener('visibilitychange', kick);
}

/** Let go of the connection: the session is over. */
export function closeStream(): void {
  port?.send({ type: 'stop' });
}

/** Try now. */
export function retryStream(): void {
  port?.send({ type: 'kick' });
}

/** Freeze or go on; what waited is applied in order. */
export function setPaused(on: boolean): void {
  paused.value = on;
  if (on) return;
  const kept = queue;
  queue = [];
  waiting.value = 0;
  if (overflow) {
    overflow = false;
    resetAll();
  } else deliver(kept);
}

function resetAll(topics: Iterable<string> = listeners.keys()): void {
  for (const topic of [...topics]) for (const listener of listeners.get(topic) ?? []) listener.reset();
}

function deliver(changes: readonly Change[]): void {
  const byTopic = new Map<string, Change[]>();
  for (const change of changes) {
    const own = byTopic.get(change.topic);
    if (own) own.push(change);
    else byTopic.set(change.topic, [change]);
  }
  batch(() => {
    for (const [topic, own] of byTopic) for (const listener of listeners.get(topic) ?? []) listener.changes(own);
  });
}

function hear(message: ToTab): void {
  if (message.type === 'link') {
    const revived = message.link.state === 'live' && link.value.state !== 'live';
    link.value = message.link;
    if (revived) for (const all of listeners.values()) for (const listener of all) listener.revived();
    return;
  }
  heardAt.value = Date.now() / 1000;
  if (message.type === 'beat') setDaemonTime(message.at);
  else if (message.type === 'reset') {
    queue = [];
    waiting.value = 0;
    if (paused.value) overflow = true;
    else resetAll(message.topics);
  } else if (!paused.value) deliver(message.changes);
  else {
    waiting.value += message.changes.length;
    if (queue.length + message.changes.length > LONGEST_QUEUE) {
      queue = [];
      overflow = true;
    } else if (!overflow) queue.push(...message.changes);
  }
}
