import { expect, test, vi } from 'vitest';
import { EVERYTHING, exportOf, lineOf, queryOf, wanted, type LogRecord } from './log-wish.ts';
import type { Change } from './stream/protocol.ts';

let answer: (request: Request) => Promise<Response>;
const real = fetch;
// The client takes the browser's `fetch` when it is made: the daemon has to be there before.
vi.stubGlobal('fetch', (request: Request) => (request.url.includes('/v1/') ? answer(request) : real(request)));
const { LogFeed } = await import('./log-feed.ts');

const record = (seq: number, more: Partial<LogRecord> = {}): LogRecord => ({
  seq, at: seq, source: 'daemon', level: 'info', message: `line ${seq}`, fields: {}, ...more,
}); // prettier-ignore

/** A daemon that has these records, and answers as `GET /v1/_ui/logs` does. */
function daemonWith(all: LogRecord[], node = ''): URLSearchParams[] {
  const asked: URLSearchParams[] = [];
  answer = (request) => {
    const query = new URL(request.url).searchParams;
    asked.push(query);
    const [limit, after, before] = ['limit', 'after', 'before'].map((name) => (query.has(name) ? Number(query.get(name)) : null));
    const following = all.filter((one) => one.seq > (after ?? 0));
    const items = after !== null ? following.slice(0, limit ?? 500) : all.filter((one) => one.seq < (before ?? Infinity)).slice(-(limit ?? 500));
    const first = items[0]?.seq ?? 0;
    const body = { items, next_after: items.at(-1)?.seq ?? after ?? all.at(-1)?.seq ?? 0, next_before: all.some((one) => one.seq < first) ? first : 0, complete: true };
    return Promise.resolve(new Response(JSON.stringify(body), { headers: { ...(node ? { 'X-ModelGrid-Node': node } : { 'X-Event-Id': 'e-1' }), 'Content-Type': 'application/json' } }));
  };
  return asked;
}

class Told extends LogFeed {
  tell(...records: LogRecord[]): void {
    const change: Change = { id: 'e-2', topic: 'logs', op: 'append', key: records[0]?.source ?? '', value: records };
    this.apply([change]);
  }
  override async load(): Promise<string> {
    return super.load();
  }
}

const seqs = (feed: Told): number[] => feed.lines.map((line) => line.seq);
const from = (first: number, last: number): LogRecord[] => Array.from({ length: last - first + 1 }, (_, i) => record(first + i));

test('records that come grouped by who said them are put in order, and none twice', async () => {
  daemonWith(from(1, 3));
  const feed = new Told(EVERYTHING);
  await feed.load();
  feed.tell(record(3), record(5), record(7));
  feed.tell(record(4, { level: 'warning' }), record(6, { level: 'warning' }));
  await expect.poll(() => seqs(feed)).toEqual([1, 2, 3, 4, 5, 6, 7]);
  const { epoch } = feed;
  feed.tell(record(9));
  await expect.poll(() => seqs(feed).at(-1)).toBe(9);
  expect(feed.epoch).toBe(epoch);
  feed.tell(record(8)); // late: it goes where it belongs
  await expect.poll(() => seqs(feed).slice(-2)).toEqual([8, 9]);
  expect(feed.epoch).not.toBe(epoch);
});

test('older lines come page by page, until there are none', async () => {
  daemonWith(from(1, 6_000));
  const feed = new Told(EVERYTHING);
  await feed.load();
  expect([feed.lines.length, feed.lines[0]?.seq, feed.older.value]).toEqual([500, 5_501, 'more']);
  feed.earlier();
  await expect.poll(() => feed.lines.length).toBe(2_500);
  expect(feed.head).toBe(-2_000);
  feed.everything();
  await expect.poll(() => feed.older.value).toBe('none');
  expect([feed.lines.length, feed.lines[0]?.seq]).toEqual([6_000, 1]);
});

test('a pause counts what comes, and going on fetches it', async () => {
  const all = from(1, 3);
  daemonWith(all);
  const feed = new Told({ ...EVERYTHING, level: 'warning' });
  await feed.load();
  feed.pause();
  all.push(...from(4, 8));
  feed.tell(record(4, { level: 'error' }), record(5), record(6, { level: 'warning' }));
  expect([feed.mode.value, feed.missed.value, feed.lines.length]).toEqual(['paused', 2, 3]);
  feed.resume();
  await expect.poll(() => seqs(feed)).toEqual([1, 2, 3, 4, 5, 6, 7, 8]);
  expect([feed.mode.value, feed.missed.value]).toEqual(['live', 0]);
});

test('after a long break what is too much is left out, and a line says so', async () => {
  const all = from(1, 10);
  daemonWith(all);
  const feed = new Told(EVERYTHING);
  await feed.load();
  all.push(...from(11, 30_000));
  await feed.load();
  const gap = feed.lines.find((line) => line.level === 'gap');
  expect(gap?.text).toMatch(/about 9,\d\d\d lines are left out here/);
  expect(seqs(feed).at(-1)).toBe(30_000);
});

test('it begins around the line of an address, and is live once it has caught up', async () => {
  daemonWith(from(1, 3_000));
  const feed = new Told(EVERYTHING, 1_000, 100);
  await feed.load();
  expect([feed.lines[0]?.seq, feed.lines.at(-1)?.seq, feed.mode.value]).toEqual([901, 1_100, 'behind']);
  feed.tell(record(3_001));
  expect(feed.lines.at(-1)?.seq).toBe(1_100);
  feed.later();
  await expect.poll(() => feed.lines.at(-1)?.seq).toBe(3_000);
  await expect.poll(() => feed.mode.value).toBe('live');
});

test('what is searched for is searched by the daemon, live too', async () => {
  const all = [record(1, { message: 'a.b' })];
  const asked = daemonWith(all);
  const feed = new Told({ ...EVERYTHING, text: 'a.b', sources: ['daemon'] });
  await feed.load();
  expect(asked[0]?.get('grep')).toBe('(?i)a\\.b');
  all.push(record(2, { message: 'A.B again' }));
  feed.tell(record(2, { message: 'A.B again' }));
  await expect.poll(() => seqs(feed), { timeout: 3_000 }).toEqual([1, 2]);
  expect(asked[1]?.get('grep')).toBe('(?i)a\\.b');
});

test('the log of another node is asked for, and what the stream brings is left out', async () => {
  const all = from(1, 3);
  const asked = daemonWith(all, 'worker-a');
  const feed = new Told({ ...EVERYTHING, node: 'worker-a' });
  const release = feed.hold();
  await expect.poll(() => seqs(feed)).toEqual([1, 2, 3]);
  feed.tell(record(4, { message: 'of this node' }));
  all.push(record(5));
  await expect.poll(() => seqs(feed), { timeout: 3_000 }).toEqual([1, 2, 3, 5]);
  expect(asked.every((query) => query.get('node') === 'worker-a')).toBe(true);
  release();
});

test('a wish is the same to the daemon, to the stream and to a file', () => {
  const wish = { ...EVERYTHING, node: 'worker-a', sources: ['deployment', 'scheduler'], level: 'warning', text: 'x+', expression: true, since: 5 };
  expect(queryOf(wish)).toEqual({ node: 'worker-a', source: ['deployment', 'scheduler'], level: 'warning', grep: 'x+', since: 5 });
  expect(exportOf(wish)).toBe('/v1/_ui/logs?format=ndjson&node=worker-a&source=deployment&source=scheduler&level=warning&grep=x%2B&since=5');
  expect(wanted(wish, record(9, { source: 'deployment:a', level: 'error' }))).toBe(true);
  expect(wanted(wish, record(9, { source: 'daemon', level: 'error' }))).toBe(false);
  expect(wanted(wish, record(9, { source: 'scheduler', level: 'info' }))).toBe(false);
  expect(wanted(wish, record(4, { source: 'scheduler', level: 'error' }))).toBe(false);
});

test('fields are told behind the message, but not on which stream an engine wrote', () => {
  expect(lineOf(record(1, { fields: { gateway: 1, why: 'x' } })).text).toBe('line 1 gateway=1 why=x');
  expect(lineOf(record(1, { source: 'deployment:a', fields: { stream: 'stderr' } })).text).toBe('line 1');
});
