import { signal } from '@preact/signals-core';
import { placeOf, type LogLine, type LogSource } from './lines.ts';
import { plain } from './sgr.ts';

/** One turn of searching; typing and scrolling come in between. */
const TURN_MS = 8;
const CHECK_EVERY = 200;

/** What somebody searches in the lines that are here, and where it was found. */
export class Finder {
  /** Why the expression cannot be used; empty when it can. */
  readonly problem: string = '';
  /** Rises when lines with matches were found or have gone. */
  readonly changed = signal(0);
  readonly #expression: RegExp | null = null;
  #hits: { readonly seq: number }[] = [];
  #epoch = -1;
  /** Places (as `LogSource.head` counts them) that were looked at: from the one up to before the other. */
  #from = 0;
  #to = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(
    readonly pattern: string,
    readonly isExpression: boolean,
  ) {
    if (!pattern) return;
    try {
      this.#expression = new RegExp(isExpression ? pattern : pattern.replace(/[.*+?^${}()|[\]\\]/g, '\\$&'), 'gi');
    } catch (error) {
      this.problem = error instanceof Error ? error.message.replace(/^.*: /, '') : String(error);
    }
  }

  /** Lines with a match. */
  get count(): number {
    return this.#hits.length;
  }

  /** Which match a line is, counted from 1; 0: it is none. */
  numberOf(seq: number): number {
    const place = placeOf(this.#hits, seq);
    return this.#hits[place]?.seq === seq ? place + 1 : 0;
  }

  /** The line with the next match after (`by` 1) or before (-1) a line, around the end where there is none. */
  step(seq: number, by: 1 | -1): number | undefined {
    const hits = this.#hits;
    const place = placeOf(hits, seq);
    if (by < 0) return (hits[place - 1] ?? hits.at(-1))?.seq;
    return (hits[hits[place]?.seq === seq ? place + 1 : place] ?? hits[0])?.seq;
  }

  /** Where the matches in a text are, as pairs of begin and end. */
  ranges(text: string): readonly (readonly [number, number])[] {
    if (!this.#expression) return [];
    const found: [number, number][] = [];
    this.#expression.lastIndex = 0;
    for (const match of text.matchAll(this.#expression)) if (match[0]) found.push([match.index, match.index + match[0].length]);
    return found;
  }

  /** Look through what has come, in turns, until all was looked at. */
  sync(source: LogSource): void {
    clearTimeout(this.#timer);
    if (!this.#expression) return;
    const before = this.#hits.length;
    const end = source.head + source.lines.length;
    if (source.epoch !== this.#epoch || this.#to > end || this.#to < source.head) {
      this.#epoch = source.epoch;
      this.#hits = [];
      this.#from = this.#to = end;
    }
    if (this.#from < source.head) {
      this.#from = source.head;
      this.#hits = this.#hits.slice(placeOf(this.#hits, source.lines[0]?.seq ?? Infinity));
    }
    const ends = performance.now() + TURN_MS;
    let looked = 0;
    const inTime = (): boolean => ++looked % CHECK_EVERY !== 0 || performance.now() < ends;
    while (this.#to < end && inTime()) this.#look(source.lines[this.#to++ - source.head], this.#hits);
    const older: { readonly seq: number }[] = [];
    while (this.#to >= end && this.#from > source.head && inTime()) this.#look(source.lines[--this.#from - source.head], older);
    if (older.length) this.#hits = older.reverse().concat(this.#hits);
    if (this.#hits.length !== before) this.changed.value += 1;
    if (this.#to < end || this.#from > source.head) this.#timer = setTimeout(() => this.sync(source));
  }

  stop(): void {
    clearTimeout(this.#timer);
  }

  #look(line: LogLine | undefined, hits: { readonly seq: number }[]): void {
    if (!line || !this.#expression) return;
    this.#expression.lastIndex = 0;
    if (this.#expression.test(plain(line.text))) hits.push({ seq: line.seq });
  }
}
