import { quoted } from '../commands.ts';
import type { LogLine } from '../kit/log/lines.ts';
import type { Schemas } from './client.ts';

export type LogRecord = Schemas['LogRecordView'];

/** Least severe first, as the daemon ranks them. */
export const LEVELS = ['debug', 'info', 'warning', 'error'] as const;

/** Which records of the log somebody wants to see. */
export interface LogWish {
  /** The node whose log it is; empty: the node that serves this console, or of one deployment the node that runs it. */
  readonly node: string;
  /** `daemon`, `scheduler`, `gateway`, `deployment` (all of them), `deployment:<id>`; none: all. */
  readonly sources: readonly string[];
  readonly level: string;
  /** What has to be in them; empty: anything. The daemon searches. */
  readonly text: string;
  /** The text is a regular expression in RE2's syntax. */
  readonly expression: boolean;
  /** Unix seconds, inclusive. */
  readonly since: number | null;
  readonly until: number | null;
}

export const EVERYTHING: LogWish = { node: '', sources: [], level: '', text: '', expression: false, since: null, until: null };

/** The wish as the daemon's query. Text that is no expression is found whatever its case. */
export function queryOf(wish: LogWish): Record<string, string | number | string[]> {
  const grep = wish.expression ? wish.text : `(?i)${wish.text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')}`;
  return {
    ...(wish.node ? { node: wish.node } : {}),
    ...(wish.sources.length ? { source: [...wish.sources] } : {}),
    ...(wish.level ? { level: wish.level } : {}),
    ...(wish.text ? { grep } : {}),
    ...(wish.since === null ? {} : { since: wish.since }),
    ...(wish.until === null ? {} : { until: wish.until }),
  };
}

/** The address of everything that is wished for, as a file. */
export function exportOf(wish: LogWish): string {
  const params = new URLSearchParams({ format: 'ndjson' });
  for (const [name, value] of Object.entries(queryOf(wish))) for (const one of [value].flat()) params.append(name, String(one));
  return `/v1/_ui/logs?${params}`;
}

/** The same on the command line, followed. */
export function spokenLog(wish: LogWish): string {
  const { grep } = queryOf(wish);
  return [
    'modelgrid logs --follow',
    wish.node ? ` --node ${quoted(wish.node)}` : '',
    ...wish.sources.map((source) => ` --source ${quoted(source)}`),
    wish.level ? ` --level ${wish.level}` : '',
    grep ? ` --grep ${quoted(String(grep))}` : '',
    wish.since === null ? '' : ` --since ${new Date(wish.since * 1000).toISOString()}`,
  ].join('');
}

/** Whether a record is wished for, as far as that can be told without searching its text. */
export function wanted(wish: LogWish, record: LogRecord): boolean {
  const { source, level, at } = record;
  return (
    (wish.sources.length === 0 || wish.sources.includes(source) || (source.startsWith('deployment:') && wish.sources.includes('deployment'))) &&
    LEVELS.indexOf(level) >= LEVELS.indexOf((wish.level || 'debug') as typeof level) &&
    (wish.since === null || at >= wish.since) &&
    (wish.until === null || at <= wish.until)
  );
}

/** A record as it is shown: the fields of engines' lines only say on which stream they came. */
export function lineOf({ seq, at, source, level, message, fields }: LogRecord): LogLine {
  if (source.startsWith('deployment:') || Object.keys(fields).length === 0) return { seq, at, source, level, text: message };
  const told = Object.entries(fields).map(([name, value]) => ` ${name}=${value}`);
  return { seq, at, source, level, text: message + told.join(''), message, fields };
}
