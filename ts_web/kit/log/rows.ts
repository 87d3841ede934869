import { placeOf, type LogLine, type LogSource } from './lines.ts';
import { plain } from './sgr.ts';

/**
 * Which row of the screen shows which line. All rows are equally high: a line that is too long, or has several lines
 * in it, takes several rows. So 200,000 lines need a sum for each and no measuring.
 */

/** Rows longer than this are cut where lines are not wrapped: browsers lay out what nobody can read. */
export const WIDEST = 2_000;

// Fullwidth forms, CJK, Hangul and emoji take two columns; marks that combine take none.
const WIDE = /[\u1100-\u115f\u2e80-\u303e\u3041-\ua4cf\ua960-\ua97c\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6]|\p{Emoji_Presentation}/u;
const NARROW = /^[\p{Mn}\p{Me}\p{Cf}]$/u;
const SIMPLE = /^[\n\u0020-\u007e]*$/;

function width(letter: string): number {
  if (letter <= '\u02ff') return 1;
  if ((letter.codePointAt(0) ?? 0) >= 0x20000 || WIDE.test(letter)) return 2;
  return NARROW.test(letter) ? 0 : 1;
}

/** Return where each row of a text begins, the first being 0; `columns` 0 breaks at line breaks alone. */
export function breaks(text: string, columns: number): number[] {
  const starts = [0];
  let from = 0;
  for (;;) {
    const end = text.indexOf('\n', from);
    const line = text.slice(from, end < 0 ? undefined : end);
    if (columns > 0 && line.length > columns / 2) {
      if (SIMPLE.test(line)) {
        for (let at = 0; line.length - at > columns; starts.push(from + at)) {
          // Behind a word, where one ends not far from the edge.
          const space = line.lastIndexOf(' ', at + columns - 1) + 1;
          at = space > at + columns * 0.67 ? space : at + columns;
        }
      } else {
        let used = 0;
        let at = from;
        for (const letter of line) {
          const wide = width(letter);
          if (used + wide > columns) {
            starts.push(at);
            used = 0;
          }
          used += wide;
          at += letter.length;
        }
      }
    }
    if (end < 0 || end === text.length - 1) return starts;
    from = end + 1;
    starts.push(from);
  }
}

function countRows(line: LogLine, columns: number): number {
  const raw = line.text;
  if (columns === 0 && !raw.includes('\n')) return 1;
  if (columns > 0 && raw.length <= columns && SIMPLE.test(raw) && !raw.includes('\n')) return 1;
  return breaks(plain(raw), columns).length;
}

/** How the rows before what was on the screen have changed. */
export interface Moved {
  /** So many rows more (or fewer) are above than before. */
  readonly rows: number;
  /** Nothing of what was there before can be found again by its row. */
  readonly anew: boolean;
}

export class Rows {
  #counts: number[] = [];
  /** The row after each line, from an arbitrary start. */
  #ends: number[] = [];
  #start = 0;
  #head = 0;
  #epoch = -1;
  #columns = 0;
  #widest = 0;

  get total(): number {
    return (this.#ends.at(-1) ?? this.#start) - this.#start;
  }

  /** Letters of the longest line that was here. */
  get widest(): number {
    return this.#widest;
  }

  /** Take over what has changed in `source`; `columns` 0 does not wrap. */
  sync(source: LogSource, columns: number): Moved {
    const known = this.#counts.length;
    if (source.epoch !== this.#epoch || columns !== this.#columns || source.head > this.#head + known) {
      this.#epoch = source.epoch;
      this.#columns = columns;
      this.#head = source.head;
      this.#counts = [];
      this.#ends = [];
      this.#start = 0;
      this.#grow(source.lines, 0);
      return { rows: 0, anew: true };
    }
    let rows = 0;
    if (source.head < this.#head) {
      const older = source.lines.slice(0, this.#head - source.head).map((line) => this.#count(line));
      rows = older.reduce((sum, count) => sum + count, 0);
      let end = this.#start - rows;
      this.#start = end;
      this.#ends = older.map((count) => (end += count)).concat(this.#ends);
      this.#counts = older.concat(this.#counts);
    } else if (source.head > this.#head) {
      const gone = source.head - this.#head;
      const start = this.#ends[gone - 1] ?? this.#start;
      rows = this.#start - start;
      this.#start = start;
      this.#counts.splice(0, gone);
      this.#ends.splice(0, gone);
    }
    this.#head = source.head;
    this.#grow(source.lines, this.#counts.length);
    return { rows, anew: false };
  }

  #count(line: LogLine): number {
    if (line.text.length > this.#widest) this.#widest = line.text.length;
    return countRows(line, this.#columns);
  }

  #grow(lines: readonly LogLine[], from: number): void {
    let end = this.#ends.at(-1) ?? this.#start;
    for (let i = from; i < lines.length; i += 1) {
      const line = lines[i];
      if (!line) continue;
      const count = this.#count(line);
      end += count;
      this.#counts.push(count);
      this.#ends.push(end);
    }
  }

  /** The first row of a line, by its place. */
  rowOf(place: number): number {
    return (this.#ends[place - 1] ?? this.#start) - this.#start;
  }

  /** The place of the line that a row shows, and which of its rows it is. */
  at(row: number): readonly [place: number, part: number] {
    let low = 0;
    let high = this.#ends.length;
    const wanted = row + this.#start;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((this.#ends[middle] ?? Infinity) <= wanted) low = middle + 1;
      else high = middle;
    }
    return [low, row - this.rowOf(low)];
  }
}

/** Return the line with this `seq`, if it is here. */
export function lineAt(lines: readonly LogLine[], seq: number): LogLine | undefined {
  const line = lines[placeOf(lines, seq)];
  return line?.seq === seq ? line : undefined;
}
