import type { LogLine } from '../kit/log/lines.ts';
import { api, call, type Schemas } from './client.ts';
import { lineOf, queryOf, type LogWish } from './log-wish.ts';

export interface LogPage {
  /** Oldest first. */
  readonly lines: LogLine[];
  /** Where what comes after it begins. */
  readonly after: number;
  /** Where what was before it ends; 0: there is nothing. */
  readonly before: number;
  /** There may be more in the same direction. */
  readonly full: boolean;
  /** The place in the stream that it is current to. */
  readonly position: string;
  /** The other node that has the records: the stream brings none of them. */
  readonly node: string;
}

/** Fetch records of a wish: the last before a number, the first after one, or the newest. */
export async function pageOf(wish: LogWish, place: { after?: number; before?: number; limit: number }): Promise<LogPage> {
  const answer = await call(api.GET('/v1/_ui/logs', { params: { query: { ...queryOf(wish), ...place } } }));
  const data = answer.data as Schemas['LogRecordList']; // the other form, ndjson, is for files
  return {
    lines: data.items.map(lineOf),
    after: data.next_after,
    before: data.next_before,
    full: data.items.length === place.limit || !data.complete,
    position: answer.position,
    node: answer.node,
  };
}
