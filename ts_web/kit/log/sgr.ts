/**
 * Text that was written for a terminal: its colours and weights (SGR of ECMA-48) as names of classes, and without
 * whatever else a terminal would do with it. It stays text: nothing here makes markup.
 */

export interface Span {
  readonly from: number;
  readonly to: number;
  /** Names of classes: `bold red`. */
  readonly look: string;
}

export interface Styled {
  readonly text: string;
  /** In rising order; what is between them has no look of its own. */
  readonly spans: readonly Span[];
}

/** In the order of their codes; the place is also one bit each for red, green, blue. */
const COLOURS = ['black', 'red', 'green', 'yellow', 'blue', 'magenta', 'cyan', 'white'] as const;
const WEIGHTS: Readonly<Record<number, string>> = { 1: 'bold', 2: 'dim', 3: 'italic', 4: 'underline', 7: 'inverse', 9: 'strike' };
const ENDS: Readonly<Record<number, readonly string[]>> = { 22: ['bold', 'dim'], 23: ['italic'], 24: ['underline'], 27: ['inverse'], 29: ['strike'] };

// CSI with its parameters; OSC up to BEL or ST; the other escapes of one letter.
const ESCAPE = /\u001b(?:\[([0-?]*)[ -/]*([@-~])|\][^\u0007\u001b]*(?:\u0007|\u001b\\)?|[ -/]*[0-~]|$)/g;
// What no screen shows, and what turns the direction of everything after it.
const UNSHOWN = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/g;
const SPECIAL = /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/;
const TAB = '    ';

/** What a progress bar wrote last, of all that it wrote over itself. */
function lastWritten(raw: string): string {
  if (!raw.includes('\r')) return raw;
  return raw
    .split('\n')
    .map((line) => line.replace(/\r+$/, '').replace(/^.*\r/s, ''))
    .join('\n');
}

function nearest(red: number, green: number, blue: number): string {
  const most = Math.max(red, green, blue);
  const least = Math.min(red, green, blue);
  if (most - least < 48) return most < 80 ? 'black' : 'white';
  const over = (most + least) / 2;
  return COLOURS[(red > over ? 1 : 0) | (green > over ? 2 : 0) | (blue > over ? 4 : 0)] ?? 'white';
}

function ofPalette(index: number): string {
  if (index < 16) return COLOURS[index % 8] ?? 'white';
  if (index >= 232) return index < 238 ? 'black' : 'white';
  const level = (part: number): number => (part ? 55 + part * 40 : 0);
  const at = index - 16;
  return nearest(level(Math.floor(at / 36)), level(Math.floor(at / 6) % 6), level(at % 6));
}

/** The state of a terminal's pen. */
class Pen {
  readonly #weights = new Set<string>();
  #colour = '';

  get look(): string {
    return [...this.#weights, this.#colour].filter(Boolean).join(' ');
  }

  take(parameters: string): void {
    const codes = parameters.replaceAll(':', ';').split(';').map(Number);
    for (let i = 0; i < codes.length; i += 1) {
      const code = codes[i] ?? 0;
      if (code === 38 || code === 48) {
        // Colours of 256 (5;n) and of 24 bits (2;r;g;b). Backgrounds are read past: ours carries the level of the line.
        const skipped = codes[i + 1] === 5 ? 2 : 4;
        const colour = codes[i + 1] === 5 ? ofPalette(codes[i + 2] ?? 7) : nearest(codes[i + 2] ?? 0, codes[i + 3] ?? 0, codes[i + 4] ?? 0);
        if (code === 38) this.#colour = colour;
        i += skipped;
      } else this.#one(code);
    }
  }

  #one(code: number): void {
    const weight = WEIGHTS[code];
    if (code === 0) {
      this.#weights.clear();
      this.#colour = '';
    } else if (weight) this.#weights.add(weight);
    else if (ENDS[code]) for (const ended of ENDS[code]) this.#weights.delete(ended);
    else if (code === 39) this.#colour = '';
    else if ((code >= 30 && code <= 37) || (code >= 90 && code <= 97)) this.#colour = COLOURS[code % 10] ?? '';
  }
}

/** Return what a terminal would show of `raw`. */
export function styled(raw: string): Styled {
  if (!SPECIAL.test(raw)) return { text: raw, spans: [] };
  const written = lastWritten(raw).replaceAll('\t', TAB);
  const spans: Span[] = [];
  const pen = new Pen();
  let text = '';
  const put = (part: string): void => {
    const shown = part.replace(UNSHOWN, '');
    if (shown && pen.look) spans.push({ from: text.length, to: text.length + shown.length, look: pen.look });
    text += shown;
  };
  let at = 0;
  for (const found of written.matchAll(ESCAPE)) {
    put(written.slice(at, found.index));
    at = found.index + found[0].length;
    if (found[2] === 'm') pen.take(found[1] ?? '');
  }
  put(written.slice(at));
  return { text, spans };
}

/** Return the text alone. */
export function plain(raw: string): string {
  return styled(raw).text;
}
