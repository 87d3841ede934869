import { StreamConnection, type Surroundings } from './connection.ts';
import type { FromTab, ToTab } from './protocol.ts';

/** A tab that says nothing for this long is gone; hidden tabs are slowed to one timer a minute. */
const GONE_MS = 180_000;
/** Topics that nobody follows any more are let go at the next connection after this time. */
const CHECK_MS = 60_000;

interface Member {
  topics: readonly string[];
  heardAt: number;
  readonly post: (message: ToTab) => void;
}

/** Shares one connection among the tabs of a browser: the union of their topics goes to the daemon. */
export class StreamHub {
  readonly #members = new Map<string, Member>();
  readonly #connection: StreamConnection;

  constructor(world?: Surroundings) {
    this.#connection = new StreamConnection((message) => this.#tell(message), world);
    setInterval(() => this.#sweep(), CHECK_MS);
  }

  /** Take in a tab; it is told how the connection stands. */
  join(id: string, post: (message: ToTab) => void): void {
    this.#members.set(id, { topics: [], heardAt: Date.now(), post });
    post({ type: 'link', link: this.#connection.link });
  }

  /** Take what a tab says. */
  hear(id: string, message: FromTab): void {
    const member = this.#members.get(id);
    if (!member) return;
    member.heardAt = Date.now();
    if (message.type === 'topics') {
      member.topics = message.topics;
      this.#follow(message.since);
    } else if (message.type === 'kick') this.#connection.kick();
    else if (message.type === 'stop') this.#connection.stop();
    else if (message.type === 'bye') {
      this.#members.delete(id);
      this.#follow();
    }
  }

  #follow(since = ''): void {
    const union = new Set([...this.#members.values()].flatMap((member) => member.topics));
    this.#connection.follow([...union], since);
  }

  #sweep(): void {
    const before = Date.now() - GONE_MS;
    for (const [id, member] of this.#members) if (member.heardAt < before) this.#members.delete(id);
    this.#follow();
  }

  #tell(message: ToTab): void {
    for (const member of this.#members.values()) {
      if (message.type !== 'changes') {
        member.post(message);
        continue;
      }
      const own = message.changes.filter((change) => member.topics.includes(change.topic));
      if (own.length) member.post({ type: 'changes', changes: own });
    }
  }
}
