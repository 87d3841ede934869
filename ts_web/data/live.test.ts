import { afterEach, beforeEach, expect, test } from 'vitest';
import type { Answer } from './client.ts';
import { CallFailed, UNREACHABLE } from './failure.ts';
import type { Change, FromTab, Op, ToTab } from './stream/protocol.ts';

/** The worker that has the stream: what a tab says to it is written down, what it says is said by the tests. */
class FakeWorker {
  static said: FromTab[] = [];
  static say: (message: ToTab) => void;
  readonly port = {
    onmessage: null as ((event: { data: ToTab }) => void) | null,
    postMessage: (message: FromTab) => void FakeWorker.said.push(message),
  };
  constructor() {
    FakeWorker.say = (data) => this.port.onmessage?.({ data });
  }
}
const real = window.SharedWorker;
(window as { SharedWorker: unknown }).SharedWorker = FakeWorker;
const stream = await import('./stream.ts');
const { LiveCollection, LiveDocument } = await import('./live.ts');
stream.openStream();
window.SharedWorker = real;

interface Item {
  readonly id: string;
  readonly state: string;
}

/** A daemon whose answers come when the test says so, in the order it says. */
class Asked<T> {
  readonly calls: { answer(data: T, seq: number): Promise<void>; fail(): Promise<void> }[] = [];
  readonly fetch = (): Promise<Answer<T>> =>
    new Promise((resolve, reject) => {
      this.calls.push({
        answer: (data, seq) => (resolve({ data, position: `e-${seq}`, etag: '', node: '' }), settle()),
        fail: () => (reject(new CallFailed(UNREACHABLE)), settle()),
      });
    });
  call(index: number): (typeof this.calls)[number] {
    const found = this.calls[index];
    if (!found) throw new Error(`it was asked ${this.calls.length} times`);
    return found;
  }
}

const settle = (): Promise<void> => new Promise((resolve) => setTimeout(resolve));
const change = (seq: number, op: Op, id: string, state = ''): Change => ({ id: `e-${seq}`, topic: 'things', op, key: id, value: { id, state } });
const changes = (...all: Change[]): void => FakeWorker.say({ type: 'changes', changes: all });
const reset = (): void => FakeWorker.say({ type: 'reset', reason: 'the daemon was restarted', topics: ['things'] });

let asked: Asked<{ items: readonly Item[] }>;
let things: InstanceType<typeof LiveCollection<Item>>;
let release: () => void;

const shown = (): string[] => things.items.value.map(({ id, state }) => `${id} ${state}`).sort();

beforeEach(() => {
  asked = new Asked();
  things = new LiveCollection<Item>('things', (item) => item.id, asked.fetch);
  release = things.hold();
});
afterEach(() => {
  stream.setPaused(false);
  release();
});

test('a topic is followed as long as somebody holds it', async () => {
  const topics = (): readonly string[] => FakeWorker.said.flatMap((message) => (message.type === 'topics' ? [message.topics] : [])).at(-1) ?? [];
  const again = things.hold();
  expect(topics()).toContain('things');
  expect(asked.calls.length).toBe(1);
  again();
  again(); // to let go twice is to let go once
  expect(topics()).toContain('things');
  release();
  expect(topics()).not.toContain('things');
});

test('what changes while it loads is applied to the answer, unless the answer has it', async () => {
  changes(change(4, 'upsert', 'a', 'old'), change(6, 'upsert', 'b', 'new'), change(7, 'remove', 'c'));
  expect(things.loaded).toBe(false);
  await asked.call(0).answer({ items: [{ id: 'a', state: 'current' }, { id: 'b', state: 'old' }, { id: 'c', state: 'old' }] }, 5);
  expect(shown()).toEqual(['a current', 'b new']);
  changes(change(5, 'upsert', 'a', 'older')); // told once more after a new connection
  expect(shown()).toEqual(['a current', 'b new']);
  changes(change(8, 'append', 'x', 'new'));
  expect(shown()).toEqual(['a current', 'b new', 'x new']);
});

test('a reset loads anew and keeps what is there meanwhile', async () => {
  await asked.call(0).answer({ items: [{ id: 'a', state: 'one' }] }, 5);
  reset();
  expect([asked.calls.length, shown(), things.loaded]).toEqual([2, ['a one'], true]);
  changes(change(7, 'upsert', 'b', 'new'));
  expect(shown()).toEqual(['a one']); // it waits for the answer
  await asked.call(1).answer({ items: [{ id: 'a', state: 'two' }] }, 6);
  expect(shown()).toEqual(['a two', 'b new']);
});

test('an answer that comes late does not replace a newer one', async () => {
  await asked.call(0).answer({ items: [{ id: 'a', state: 'one' }] }, 5);
  reset();
  reset();
  await asked.call(2).answer({ items: [{ id: 'a', state: 'three' }] }, 9);
  await asked.call(1).answer({ items: [{ id: 'a', state: 'two' }] }, 7);
  expect(shown()).toEqual(['a three']);
  changes(change(8, 'upsert', 'a', 'older'));
  expect(shown()).toEqual(['a three']);
});

test('a document takes over no late answer either', async () => {
  const one = new Asked<Item>();
  const document = new LiveDocument<Item>('things', one.fetch);
  const letGo = document.hold();
  document.reload();
  await one.call(1).answer({ id: 'a', state: 'new' }, 9);
  await one.call(0).answer({ id: 'a', state: 'old' }, 7);
  expect(document.value?.state).toBe('new');
  letGo();
});

test('a load that fails is told, keeps what is there as old, and is tried again when the link is back', async () => {
  await asked.call(0).answer({ items: [{ id: 'a', state: 'one' }] }, 5);
  reset();
  await asked.call(1).fail();
  expect([things.problem !== '', things.stale, shown()]).toEqual([true, true, ['a one']]);
  FakeWorker.say({ type: 'link', link: { state: 'waiting', heardAt: 0, retryAt: 0, why: 'The connection ended.' } });
  FakeWorker.say({ type: 'link', link: { state: 'live', heardAt: 1, retryAt: 0, why: '' } });
  await asked.call(2).answer({ items: [{ id: 'a', state: 'two' }] }, 8);
  expect([things.problem, things.stale, shown()]).toEqual(['', false, ['a two']]);
});

test('a failure that comes late says nothing about the newer answer', async () => {
  things.reload();
  await asked.call(1).answer({ items: [] }, 5);
  await asked.call(0).fail();
  expect([things.problem, things.loaded]).toEqual(['', true]);
});

test('a pause keeps what comes and applies it in order', async () => {
  await asked.call(0).answer({ items: [{ id: 'a', state: 'one' }] }, 5);
  stream.setPaused(true);
  changes(change(6, 'upsert', 'a', 'two'));
  changes(change(7, 'upsert', 'b', 'new'), change(8, 'upsert', 'a', 'three'));
  expect([stream.waiting.value, shown()]).toEqual([3, ['a one']]);
  stream.setPaused(false);
  expect([stream.waiting.value, shown(), asked.calls.length]).toEqual([0, ['a three', 'b new'], 1]);
});

test('a pause in which too much came, or a reset, ends with loading anew', async () => {
  await asked.call(0).answer({ items: [{ id: 'a', state: 'one' }] }, 5);
  stream.setPaused(true);
  changes(...Array.from({ length: 5_000 }, (_, i) => change(6 + i, 'upsert', 'a', `at ${i}`)));
  expect(asked.calls.length).toBe(1);
  changes(change(6_000, 'upsert', 'b', 'one too many'));
  changes(change(6_001, 'upsert', 'b', 'more'));
  expect([stream.waiting.value, asked.calls.length]).toEqual([5_002, 1]);
  stream.setPaused(false);
  expect([stream.waiting.value, asked.calls.length, shown()]).toEqual([0, 2, ['a one']]);
  await asked.call(1).answer({ items: [{ id: 'b', state: 'more' }] }, 6_001);
  expect(shown()).toEqual(['b more']);

  stream.setPaused(true);
  reset();
  expect(asked.calls.length).toBe(2); // frozen means frozen
  stream.setPaused(false);
  expect(asked.calls.length).toBe(3);
});
