import { signal, type ReadonlySignal } from '@preact/signals-core';

/** One line of a log, as somebody wrote it: its text may hold terminal escapes and line breaks. */
export interface LogLine {
  /** Rises from line to line. */
  readonly seq: number;
  /** Unix seconds. */
  readonly at: number;
  readonly source: string;
  /** `gap` stands for lines that are missing here, and the text says which. */
  readonly level: string;
  /** What is shown and searched: the message, and its fields. */
  readonly text: string;
  /** The message alone, where there are fields. */
  readonly message?: string;
  readonly fields?: Readonly<Record<string, unknown>>;
}

/**
 * `live`: what is said is added. `paused`: somebody asked to read in peace. `behind`: the newest lines here are not the
 * newest of the log, and `later` gets those that follow.
 */
export type LogMode = 'live' | 'paused' | 'behind';

/** Where older lines are: `more` in the daemon, `none` anywhere, `full`: there is no room for them here. */
export type Earlier = 'more' | 'loading' | 'none' | 'full';

/** Lines in rising order of `seq`, of which more come at both ends. */
export interface LogSource {
  readonly lines: readonly LogLine[];
  /** The place of the first line among all that were here: falls when older ones come before it, rises when it goes. */
  readonly head: number;
  /** Another number when lines were put between others, or replaced. */
  readonly epoch: number;
  /** Another value whenever anything of the above is another. */
  readonly changed: ReadonlySignal<number>;
  readonly mode: ReadonlySignal<LogMode>;
  /** How many lines came since it stopped being live; `Infinity`: some, of which the daemon would have to say how many. */
  readonly missed: ReadonlySignal<number>;
  readonly older: ReadonlySignal<Earlier>;
  /** Somebody reads older lines: nothing that is here may go. */
  reading: boolean;
  earlier(): void;
  everything(): void;
  later(): void;
  pause(): void;
  resume(): void;
}

/** Return the place in rising `lines` of the first whose `seq` is at least this. */
export function placeOf(lines: readonly { readonly seq: number }[], seq: number): number {
  let low = 0;
  let high = lines.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((lines[middle]?.seq ?? Infinity) < seq) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** Lines that are all there is: the last words of a deployment that ended. */
export class EndedLog implements LogSource {
  readonly head = 0;
  readonly epoch = 0;
  readonly changed = signal(0);
  readonly mode = signal<LogMode>('live');
  readonly missed = signal(0);
  readonly older = signal<Earlier>('none');
  reading = false;

  constructor(readonly lines: readonly LogLine[]) {}

  earlier(): void {
    // There are none.
  }
  everything(): void {
    // It is here.
  }
  later(): void {
    // There are none.
  }
  pause(): void {
    // Nothing moves.
  }
  resume(): void {
    // Nothing moves.
  }
}
