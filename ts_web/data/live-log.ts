import { signal, type ReadonlySignal } from '@preact/signals-core';
import { api, call, type Schemas } from './client.ts';
import { Live } from './live.ts';
import type { Change } from './stream/protocol.ts';

export type LogRecord = Schemas['LogRecordView'];

/** Lines kept of one source; older ones are in the daemon. */
export const KEPT = 500;

/** The newest lines of one source (`deployment:<id>`), followed live. */
export class LiveLog extends Live {
  readonly #lines = signal<readonly LogRecord[]>([]);

  constructor(private readonly source: string) {
    super('logs');
  }

  get lines(): ReadonlySignal<readonly LogRecord[]> {
    return this.#lines;
  }

  protected async load(): Promise<string> {
    const answer = await call(api.GET('/v1/_ui/logs', { params: { query: { source: [this.source], limit: KEPT } } }));
    this.#lines.value = (answer.data as Schemas['LogRecordList']).items; // the other form, ndjson, is asked for
    return answer.position;
  }

  protected apply(changes: readonly Change[]): void {
    const fresh = changes
      .filter((change) => change.op === 'append')
      .flatMap((change) => change.value as LogRecord[])
      .filter((record) => record.source === this.source && record.seq > (this.#lines.value.at(-1)?.seq ?? 0));
    if (fresh.length) this.#lines.value = [...this.#lines.value, ...fresh].slice(-KEPT);
  }
}
