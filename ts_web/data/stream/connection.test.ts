import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { StreamConnection, type Surroundings } from './connection.ts';
import type { ToTab } from './protocol.ts';

/** A server of one test: every connection is an answer whose body the test writes. */
class Server implements Surroundings {
  readonly asked: { at: number; url: string; headers: Record<string, string> }[] = [];
  status = 200;
  down = false;
  #bodies: ReadableStreamDefaultController<Uint8Array>[] = [];

  fetch(url: string, init: RequestInit): Promise<Response> {
    this.asked.push({ at: Date.now(), url, headers: init.headers as Record<string, string> });
    if (this.down) return Promise.reject(new TypeError('refused'));
    const body = new ReadableStream<Uint8Array>({
      start: (controller) => {
        this.#bodies.push(controller);
        init.signal?.addEventListener('abort', () => controller.error(new DOMException('', 'AbortError')));
      },
    });
    return Promise.resolve(new Response(body, { status: this.status }));
  }
  now = (): number => Date.now();
  random = (): number => 1;

  async write(text: string): Promise<void> {
    this.#bodies.at(-1)?.enqueue(new TextEncoder().encode(text));
    await vi.advanceTimersByTimeAsync(1);
  }
  async end(): Promise<void> {
    this.#bodies.at(-1)?.close();
    await vi.advanceTimersByTimeAsync(1);
  }
}

const HELLO = 'event: hello\ndata: {"epoch":"e","at":100,"id":"e-1"}\nid: e-1\n\n';
const BEAT = 'event: beat\ndata: {"at":105}\n\n';
const change = (id: string, key: string): string =>
  `id: ${id}\nevent: change\ndata: {"topic":"nodes","op":"upsert","key":"${key}","value":{"name":"${key}"}}\n\n`;

let server: Server;
let said: ToTab[];
let connection: StreamConnection;

beforeEach(async () => {
  vi.useFakeTimers();
  server = new Server();
  said = [];
  connection = new StreamConnection((message) => said.push(message), server);
  connection.follow(['nodes']);
  await vi.advanceTimersByTimeAsync(50);
});
afterEach(() => {
  connection.stop();
  vi.useRealTimers();
});

const keys = (): string[] => said.flatMap((m) => (m.type === 'changes' ? m.changes.map((c) => c.key) : []));

test('is live after the hello, and passes changes on in order, cut wherever', async () => {
  await server.write(HELLO);
  expect(connection.link.state).toBe('live');
  const whole = change('e-2', 'a') + change('e-3', 'b');
  await server.write(whole.slice(0, 40));
  await server.write(whole.slice(40));
  expect(keys()).toEqual(['a', 'b']);
});

test('goes on after the last id when it breaks, and waits longer each time', async () => {
  await server.write(HELLO + change('e-2', 'a'));
  await server.end();
  expect(connection.link).toMatchObject({ state: 'waiting', why: 'The connection ended.' });
  server.down = true;
  await vi.advanceTimersByTimeAsync(100_000);
  const waits = server.asked.slice(1).map(({ at }, i) => Math.round((at - (server.asked[i]?.at ?? 0)) / 1000));
  expect(waits.slice(0, 7)).toEqual([1, 2, 4, 8, 16, 30, 30]);
  server.down = false;
  connection.kick();
  await vi.advanceTimersByTimeAsync(10);
  expect(server.asked.at(-1)?.headers['Last-Event-ID']).toBe('e-2');
  await server.write(HELLO);
  expect(connection.link.state).toBe('live');
});

test('takes fifteen seconds of silence for a dead connection, and beats for life', async () => {
  await server.write(HELLO);
  for (let i = 0; i < 5; i += 1) {
    await vi.advanceTimersByTimeAsync(10_000);
    await server.write(BEAT);
  }
  expect(server.asked).toHaveLength(1);
  await vi.advanceTimersByTimeAsync(15_100);
  expect(connection.link).toMatchObject({ state: 'waiting', why: 'Nothing was heard for 15 seconds.' });
});

test('stops at a session that has ended, until it is told to try', async () => {
  server.status = 401;
  await server.end();
  await vi.advanceTimersByTimeAsync(1_100);
  expect(connection.link.state).toBe('refused');
  const before = server.asked.length;
  await vi.advanceTimersByTimeAsync(120_000);
  expect(server.asked).toHaveLength(before);
  server.status = 200;
  connection.kick();
  await vi.advanceTimersByTimeAsync(10);
  await server.write(HELLO);
  expect(connection.link.state).toBe('live');
});

test('opens one new connection for topics that come together, and none for fewer', async () => {
  await server.write(HELLO);
  connection.follow(['nodes', 'gpus']);
  connection.follow(['nodes', 'gpus', 'deployments']);
  await vi.advanceTimersByTimeAsync(50);
  expect(server.asked.map((one) => one.url.split('topics=')[1])).toEqual(['nodes', 'deployments,gpus,nodes']);
  connection.follow(['nodes']);
  await vi.advanceTimersByTimeAsync(50);
  expect(server.asked).toHaveLength(2);
  expect(connection.link.state).not.toBe('waiting');
});

test('begins after what the page has looked at already', async () => {
  connection.stop();
  connection = new StreamConnection((message) => said.push(message), server);
  connection.follow(['nodes'], 'e-7');
  connection.follow(['nodes', 'gpus'], 'e-9');
  await vi.advanceTimersByTimeAsync(50);
  expect(server.asked.at(-1)?.headers['Last-Event-ID']).toBe('e-7');
});

test('brings a new topic from where it was asked for, and what it had of the others not again', async () => {
  await server.write(HELLO + change('e-2', 'a'));
  connection.follow(['nodes', 'gpus']);
  await server.write(change('e-4', 'b'));
  server.down = true;
  await vi.advanceTimersByTimeAsync(50);
  server.down = false;
  connection.kick();
  await vi.advanceTimersByTimeAsync(50);
  expect(server.asked.at(-1)?.headers['Last-Event-ID']).toBe('e-2');
  const gpu = change('e-3', 'gpu').replace('"nodes"', '"gpus"');
  await server.write(HELLO.replaceAll('e-1', 'e-2') + gpu + change('e-4', 'b') + change('e-5', 'c'));
  expect(keys()).toEqual(['a', 'b', 'gpu', 'c']);
});

test('loses nothing of a new topic when it breaks before that has caught up', async () => {
  await server.write(HELLO + change('e-2', 'a'));
  connection.follow(['nodes', 'gpus']);
  await server.write(change('e-5', 'b'));
  await vi.advanceTimersByTimeAsync(50);
  await server.write(HELLO.replaceAll('e-1', 'e-2') + change('e-3', 'first').replace('"nodes"', '"gpus"'));
  await server.end();
  await vi.advanceTimersByTimeAsync(1_100);
  expect(server.asked.at(-1)?.headers['Last-Event-ID']).toBe('e-3');
  await server.write(HELLO.replaceAll('e-1', 'e-3') + change('e-4', 'second').replace('"nodes"', '"gpus"') + change('e-5', 'b') + change('e-6', 'c'));
  expect(keys()).toEqual(['a', 'b', 'first', 'second', 'c']);
});

test('says that what came before is lost', async () => {
  await server.write(`${HELLO}event: reset\ndata: {"reason":"too old","topics":["nodes"]}\n\n`);
  expect(said).toContainEqual({ type: 'reset', reason: 'too old', topics: ['nodes'] });
});
