import { signal } from '@preact/signals-core';
import { placeOf, type Earlier, type LogLine, type LogMode, type LogSource } from '../kit/log/lines.ts';
import { plural } from '../kit/format.ts';
import { asFailure } from './failure.ts';
import { Live } from './live.ts';
import { pageOf, type LogPage } from './log-page.ts';
import { lineOf, wanted, type LogRecord, type LogWish } from './log-wish.ts';
import type { Change } from './stream/protocol.ts';

/** What is kept in this tab; older lines are in the daemon. */
export const KEPT_LINES = 200_000;
const KEPT_LETTERS = 60_000_000;
/** So many go at a time when there are too many. */
const BLOCK = 5_000;
const FIRST = 500;
const EARLIER = 2_000;
/** The most that the daemon gives at once. */
const PAGE = 5_000;
/** After a break so many pages are caught up; what was said before that is left out, and a line says so. */
const MOST_PAGES = 4;
/** Of what the stream brought before a break, the last few may have come without some that were said before them. */
const OVERLAP = 200;
/** Records come grouped by who said them: those that came within this time are put in order first. */
const GATHER_MS = 60;
/** Where the daemon searches, it is asked so often for what is new. */
const ASK_MS = 500;
/** The node that has the records is asked so often for what is new: no stream brings them. */
const ELSEWHERE_MS = 1_000;

/** The records that somebody wishes to see: the newest by the stream, older ones and what is searched from the daemon. */
export class LogFeed extends Live implements LogSource {
  lines: LogLine[] = [];
  head = 0;
  epoch = 0;
  reading = false;
  readonly changed = signal(0);
  readonly mode = signal<LogMode>('live');
  readonly missed = signal(0);
  readonly older = signal<Earlier>('more');
  #letters = 0;
  #after = 0;
  #before = 0;
  #started = false;
  #busy = false;
  /** Older lines are fetched until there are none, or no room. */
  #all = false;
  /** Another node has the records: what the stream brings is of this one. */
  #elsewhere = false;
  #incoming: LogRecord[] = [];
  #timer: ReturnType<typeof setTimeout> | undefined;

  /** `line`: begin around this one instead of at the newest. `first`: so many lines at first. */
  constructor(
    readonly wish: LogWish,
    private readonly line = 0,
    private readonly first = FIRST,
  ) {
    super('logs');
  }

  override hold(): () => void {
    const release = super.hold();
    return () => {
      clearTimeout(this.#timer);
      this.#timer = undefined;
      release();
    };
  }

  protected async load(): Promise<string> {
    if (this.#started) return this.mode.peek() === 'live' ? this.#catchUp() : '';
    const page = await pageOf(this.wish, this.line ? { before: this.line + 1, limit: this.first } : { limit: this.first });
    this.#before = page.before;
    this.#after = this.line || page.after;
    this.#replace(page.lines);
    this.#started = true;
    this.#askAgain(page);
    if (!this.line) return page.position;
    this.mode.value = 'behind';
    return (await this.#newer()).position;
  }

  protected apply(changes: readonly Change[]): void {
    if (this.#elsewhere) return;
    const records = changes
      .filter((change) => change.op === 'append')
      .flatMap((change) => change.value as LogRecord[])
      .filter((record) => wanted(this.wish, record));
    if (records.length === 0) return;
    if (this.mode.peek() !== 'live') {
      this.missed.value += this.wish.text ? Infinity : records.length;
    } else if (this.wish.text) {
      this.#timer ??= setTimeout(() => ((this.#timer = undefined), this.reload()), ASK_MS);
    } else {
      this.#incoming.push(...records);
      this.#timer ??= setTimeout(() => ((this.#timer = undefined), this.#take()), GATHER_MS);
    }
  }

  earlier(): void {
    if (this.#started && this.older.peek() === 'more') void this.#work(() => this.#back());
  }

  everything(): void {
    this.#all = true;
    void this.#work(() => this.#back());
  }

  later(): void {
    if (this.#started && this.mode.peek() === 'behind') void this.#work(async () => void (await this.#newer()));
  }

  pause(): void {
    this.#take();
    this.mode.value = 'paused';
  }

  resume(): void {
    this.mode.value = 'live';
    this.missed.value = 0;
    this.reload();
  }

  async #work(task: () => Promise<unknown>): Promise<void> {
    if (this.#busy) return;
    this.#busy = true;
    try {
      await task();
    } catch (error) {
      // The daemon is away: the link says so, and scrolling tries again.
      asFailure(error);
      this.#all = false;
      if (this.older.peek() === 'loading') this.older.value = 'more';
    } finally {
      this.#busy = false;
    }
    if (this.#all) void this.#work(() => this.#back());
  }

  /** Fetch what came after the newest line here; returns the position that it is current to. */
  async #catchUp(): Promise<string> {
    for (let pages = 0; pages < MOST_PAGES; pages += 1) {
      const after = Math.max(0, this.#after - (pages ? 0 : OVERLAP));
      const page = await pageOf(this.wish, { after, limit: PAGE });
      this.#after = page.after;
      this.#merge(page.lines);
      this.#askAgain(page);
      if (!page.full) return page.position;
    }
    const newest = await pageOf(this.wish, { limit: this.first });
    this.#after = newest.after;
    const last = this.lines.at(-1)?.seq ?? 0;
    const fresh = newest.lines.filter((line) => line.seq > last);
    const next = fresh[0];
    if (next && next.seq > last + 1) {
      const many = this.wish.text ? 'lines' : `about ${plural(next.seq - last - 1, 'line')}`;
      fresh.unshift({ seq: last + 0.5, at: next.at, source: '', level: 'gap', text: `… ${many} are left out here` });
    }
    this.#merge(fresh);
    return newest.position;
  }

  /** Records of another node are asked for over and over, for as long as somebody looks. */
  #askAgain(page: LogPage): void {
    this.#elsewhere = page.node !== '';
    if (this.#elsewhere) this.#timer ??= setTimeout(() => ((this.#timer = undefined), this.reload()), ELSEWHERE_MS);
  }

  /** Fetch a page of what follows; where that is all, it is live from then on. */
  async #newer(): Promise<LogPage> {
    const page = await pageOf(this.wish, { after: this.#after, limit: this.line && this.lines.length <= this.first ? this.first : EARLIER });
    this.#after = page.after;
    this.#merge(page.lines);
    if (!page.full && this.mode.peek() === 'behind') this.resume();
    return page;
  }

  async #back(): Promise<void> {
    while ((await this.#prepend(this.#all ? PAGE : EARLIER)) && this.#all);
    this.#all = false;
  }

  /** Fetch a page of older lines; true when there are still older ones and room. */
  async #prepend(limit: number): Promise<boolean> {
    if (this.lines.length >= KEPT_LINES || this.#letters >= KEPT_LETTERS) {
      this.older.value = 'full';
      return false;
    }
    if (this.#before === 0) {
      this.older.value = 'none';
      return false;
    }
    this.older.value = 'loading';
    const page = await pageOf(this.wish, { before: this.#before, limit });
    this.#before = page.before;
    const oldest = this.lines[0]?.seq ?? Infinity;
    const fresh = page.lines.filter((line) => line.seq < oldest);
    this.lines = fresh.concat(this.lines);
    this.head -= fresh.length;
    this.#letters += letters(fresh);
    this.older.value = page.before === 0 ? 'none' : 'more';
    this.changed.value += 1;
    return page.before !== 0;
  }

  #replace(lines: LogLine[]): void {
    this.lines = lines;
    this.epoch += 1;
    this.#letters = letters(lines);
    this.older.value = this.#before === 0 ? 'none' : 'more';
    this.changed.value += 1;
  }

  #take(): void {
    const records = this.#incoming;
    if (records.length === 0) return;
    this.#incoming = [];
    const lines = records.map(lineOf).sort((a, b) => a.seq - b.seq);
    this.#after = Math.max(this.#after, lines.at(-1)?.seq ?? 0);
    this.#merge(lines);
  }

  /** Put rising lines where they belong, which is nearly always at the end; those that are here already stay. */
  #merge(fresh: readonly LogLine[]): void {
    if (fresh.length === 0) return;
    let added = 0;
    for (const line of fresh) {
      const last = this.lines.at(-1);
      if (!last || line.seq > last.seq) this.lines.push(line);
      else {
        const place = placeOf(this.lines, line.seq);
        if (this.lines[place]?.seq === line.seq) continue;
        if (place === 0 && this.#before !== 0) continue; // older than what is kept here
        this.lines.splice(place, 0, line);
        this.epoch += 1;
      }
      added += line.text.length;
    }
    this.#letters += added;
    this.#trim();
    this.changed.value += 1;
  }

  #trim(): void {
    const over = (): boolean => this.lines.length > KEPT_LINES || this.#letters > KEPT_LETTERS;
    if (!over()) return;
    if (this.reading && this.mode.peek() === 'live') {
      this.mode.value = 'behind';
      return;
    }
    while (over()) {
      const gone = this.lines.splice(0, BLOCK);
      this.#letters -= letters(gone);
      this.head += gone.length;
    }
    this.#before = this.lines[0]?.seq ?? 0;
    this.older.value = 'more';
  }
}

function letters(lines: readonly LogLine[]): number {
  return lines.reduce((sum, line) => sum + line.text.length, 0);
}
