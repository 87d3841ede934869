import { FrameReader, type Frame } from './frames.ts';
import { atOrBefore, type Change, type Link, type Op, type ToTab } from './protocol.ts';

/** Three beats of five seconds: after that the connection is taken for dead. */
export const SILENCE_MS = 15_000;
const FIRST_WAIT_MS = 1_000;
const LONGEST_WAIT_MS = 30_000;
/** Views mount together: topics asked for within this time share one new connection. */
const GATHER_MS = 30;

export interface Surroundings {
  fetch(url: string, init: RequestInit): Promise<Response>;
  now(): number;
  random(): number;
}

const BROWSER: Surroundings = {
  fetch: (url, init) => fetch(url, init),
  now: () => Date.now(),
  random: () => Math.random(),
};

/** What need not be said again: changes of `topics` at or before `upTo`. Of new topics they are still to come. */
interface Heard {
  readonly topics: readonly string[];
  readonly upTo: string;
}

/**
 * The one connection to the daemon's stream. Resumes after the last id it has seen, tries again by itself with a
 * growing wait, and takes silence for a dead connection. Written on `fetch`, not on `EventSource`: that one closes for
 * good on an HTTP error, hides its status, and sends no last id from a new page.
 */
export class StreamConnection {
  #topics: readonly string[] = [];
  #lastId = '';
  /** Where the next connection begins, when its new topics were looked at before `#lastId`. */
  #from = '';
  #heard: Heard = { topics: [], upTo: '' };
  #tries = 0;
  #abort: AbortController | null = null;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #watch: ReturnType<typeof setTimeout> | undefined;
  #link: Link = { state: 'connecting', heardAt: 0, retryAt: 0, why: '' };

  constructor(
    private readonly say: (message: ToTab) => void,
    private readonly world: Surroundings = BROWSER,
  ) {}

  get link(): Link {
    return this.#link;
  }

  /**
   * Follow these topics. More of them need a new connection, fewer wait for one. It goes on where the last one was when
   * they were asked for; the first one after `since`, the position of an answer that is older than what is looked at.
   */
  follow(topics: readonly string[], since = ''): void {
    const sorted = [...topics].sort();
    const grown = sorted.some((topic) => !this.#topics.includes(topic));
    if (grown || sorted.length === 0) this.#topics = sorted;
    if (grown) this.#from ||= this.#lastId || since;
    if (sorted.length === 0) this.#close();
    else if (grown && this.#link.state !== 'refused') this.#soon(GATHER_MS);
  }

  /** Try now, unless it is live. */
  kick(): void {
    if (this.#link.state === 'live' || this.#topics.length === 0) return;
    this.#tries = 0;
    this.#soon(0);
  }

  stop(): void {
    this.#close();
    this.#set({ state: 'refused', retryAt: 0, why: 'The session is over.' });
  }

  #close(): void {
    clearTimeout(this.#timer);
    clearTimeout(this.#watch);
    this.#abort?.abort();
    this.#abort = null;
  }

  #soon(wait: number): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => void this.#run(), wait);
  }

  async #run(): Promise<void> {
    this.#close();
    const abort = new AbortController();
    this.#abort = abort;
    if (this.#link.state !== 'live') this.#set({ state: 'connecting', retryAt: 0, why: this.#link.why });
    this.#listen(abort);
    let why = 'The connection ended.';
    try {
      const url = `/v1/_ui/events?topics=${this.#topics.map(encodeURIComponent).join(',')}`;
      const headers: Record<string, string> = { Accept: 'text/event-stream' };
      const topics = this.#topics;
      const from = this.#from || this.#lastId;
      if (from) headers['Last-Event-ID'] = from;
      const response = await this.world.fetch(url, { headers, cache: 'no-store', credentials: 'same-origin', signal: abort.signal });
      if (response.status === 401 || response.status === 403) {
        this.#close();
        this.#set({ state: 'refused', retryAt: 0, why: 'The session is over.' });
        return;
      }
      if (!response.ok || !response.body) why = `The stream was answered with status ${response.status}.`;
      else {
        this.#lastId = from;
        this.#from = '';
        await this.#read(response.body, abort, topics);
      }
    } catch (error) {
      if (abort.signal.reason === 'silence') why = 'Nothing was heard for 15 seconds.';
      else if (!abort.signal.aborted && !(error instanceof TypeError)) throw error;
      else if (!abort.signal.aborted) why = 'The daemon does not answer.';
    }
    if (this.#abort === abort) this.#wait(why);
  }

  #wait(why: string): void {
    this.#close();
    const full = Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 2 ** this.#tries);
    const wait = full * (0.5 + this.world.random() / 2);
    this.#tries += 1;
    this.#set({ state: 'waiting', retryAt: this.world.now() + wait, why });
    this.#soon(wait);
  }

  #listen(abort: AbortController): void {
    clearTimeout(this.#watch);
    this.#watch = setTimeout(() => abort.abort('silence'), SILENCE_MS);
  }

  async #read(body: ReadableStream<Uint8Array>, abort: AbortController, topics: readonly string[]): Promise<void> {
    const frames = new FrameReader();
    const reader = body.pipeThrough(new TextDecoderStream() as ReadableWritablePair<string, Uint8Array>).getReader();
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      this.#listen(abort);
      this.#take(frames.read(value), topics);
    }
  }

  #take(frames: readonly Frame[], topics: readonly string[]): void {
    let changes: Change[] = [];
    const flush = (): void => {
      if (changes.length) this.say({ type: 'changes', changes });
      changes = [];
    };
    for (const { id, event, data } of frames) {
      const { topics: heard, upTo } = this.#heard;
      if (id) {
        this.#lastId = id;
        if (id === upTo || !atOrBefore(id, upTo)) this.#heard = { topics, upTo: id };
      }
      this.#tries = 0;
      if (event === 'change') {
        const { topic, op, key, value } = JSON.parse(data) as { topic: string; op: Op; key?: string; value?: unknown };
        if (heard.includes(topic) && atOrBefore(id, upTo)) continue;
        changes.push({ id, topic, op, key: key ?? '', value });
        continue;
      }
      flush();
      if (event === 'hello' || event === 'beat') {
        this.#set({ state: 'live', retryAt: 0, why: '' });
        this.say({ type: 'beat', at: (JSON.parse(data) as { at: number }).at });
      } else if (event === 'reset') {
        const { reason, topics } = JSON.parse(data) as { reason: string; topics: string[] };
        this.say({ type: 'reset', reason, topics });
      }
    }
    flush();
    if (this.#link.state === 'live') this.#link = { ...this.#link, heardAt: this.world.now() };
  }

  #set(link: Omit<Link, 'heardAt'>): void {
    const heardAt = link.state === 'live' ? this.world.now() : this.#link.heardAt;
    const same = link.state === this.#link.state && link.state === 'live';
    this.#link = { ...link, heardAt };
    if (!same) this.say({ type: 'link', link: this.#link });
  }
}
