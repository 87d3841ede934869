/** What the stream's owner (a worker, or one of the tabs) and the tabs say to each other. */

export type Op = 'upsert' | 'remove' | 'replace' | 'append';

export interface Change {
  /** `<epoch>-<seq>` */
  readonly id: string;
  readonly topic: string;
  readonly op: Op;
  readonly key: string;
  readonly value: unknown;
}

/**
 * `live`: beats arrive. `connecting`: the first try, or one under way. `waiting`: it broke, the next try is at
 * `retryAt`. `refused`: the session is over; nothing is tried until somebody logs in.
 */
export interface Link {
  readonly state: 'connecting' | 'live' | 'waiting' | 'refused';
  /** Browser milliseconds of the last sign of life; 0 before the first. */
  readonly heardAt: number;
  readonly retryAt: number;
  readonly why: string;
}

export type ToTab =
  | { readonly type: 'link'; readonly link: Link }
  | { readonly type: 'changes'; readonly changes: readonly Change[] }
  | { readonly type: 'beat'; readonly at: number }
  | { readonly type: 'reset'; readonly reason: string; readonly topics: readonly string[] };

export type FromTab =
  /** `since`: the position of the oldest answer that is looked at; what changed after it is missing. */
  | { readonly type: 'topics'; readonly topics: readonly string[]; readonly since: string }
  /** Try now: the page came into view, the network is back, or somebody logged in. */
  | { readonly type: 'kick' }
  /** The session is over: let go of the connection. */
  | { readonly type: 'stop' }
  | { readonly type: 'alive' }
  | { readonly type: 'bye' };

/** Whether position `a` is at or before `b`. Positions of different epochs cannot be compared: false. */
export function atOrBefore(a: string, b: string): boolean {
  const [epochA, seqA] = split(a);
  const [epochB, seqB] = split(b);
  return epochA === epochB && seqA <= seqB;
}

function split(id: string): [string, number] {
  const dash = id.lastIndexOf('-');
  return dash < 0 ? ['', 0] : [id.slice(0, dash), Number(id.slice(dash + 1))];
}
