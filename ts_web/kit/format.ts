/** Numbers and times as the console writes them: 3 significant digits, binary sizes, `—` for unknown, `0` for zero. */

export const UNKNOWN = '—';

const GIB = 1024 ** 3;
const MIB = 1024 ** 2;

type Maybe = number | null | undefined;

function known(value: Maybe): value is number {
  return typeof value === 'number' && Number.isFinite(value);
}

/** `0.0512`, `5.12`, `51.2`, `512`, `5,120`, `51.2k`, `5.12M`. */
export function number(value: Maybe): string {
  if (!known(value)) return UNKNOWN;
  if (value === 0) return '0';
  const size = Math.abs(value);
  if (size >= 999_500) return `${digits(value / 1e6)}M`;
  if (size >= 9_995) return `${digits(value / 1e3)}k`;
  if (size >= 999.5) return count(value);
  return digits(value);
}

/** Three significant digits, never as an exponent. */
export function digits(value: number): string {
  if (value === 0) return '0';
  const before = Math.floor(Math.log10(Math.abs(value))) + 1;
  return value.toFixed(Math.min(Math.max(3 - before, 0), 4)).replace(/(\.\d*?)0+$/, '$1').replace(/\.$/, '');
}

/** A count, whole and with separators. */
export function count(value: Maybe): string {
  return known(value) ? String(Math.round(value)).replace(/\B(?=(\d{3})+$)/g, ',') : UNKNOWN;
}

/** Bytes as `17.6 GiB`, or MiB below one GiB. */
export function bytes(value: Maybe): string {
  if (!known(value)) return UNKNOWN;
  if (value === 0) return '0';
  return value < GIB ? `${digits(value / MIB)} MiB` : `${digits(value / GIB)} GiB`;
}

/** A percentage from 0 to 100: `64 %`, `0.8 %`. */
export function percent(value: Maybe): string {
  if (!known(value)) return UNKNOWN;
  return `${value === 0 || Math.abs(value) >= 10 ? Math.round(value) : digits(value)} %`;
}

/** A ratio from 0 to 1 as a percentage. */
export function ratio(value: Maybe): string {
  return percent(known(value) ? value * 100 : null);
}

/** Seconds in two units at most: `820 ms`, `12.4 s`, `3 min`, `2 h 5 min`, `3 d 4 h`. */
export function duration(seconds: Maybe): string {
  if (!known(seconds)) return UNKNOWN;
  const s = Math.max(0, seconds);
  if (s < 0.9995) return `${digits(s * 1000)} ms`;
  if (s < 60) return `${digits(s)} s`;
  return coarse(s);
}

/** The same in whole units, as it is read on a ticking clock. */
export function coarse(seconds: Maybe): string {
  if (!known(seconds)) return UNKNOWN;
  const s = Math.max(0, Math.floor(seconds));
  if (s < 60) return `${s} s`;
  const minutes = Math.floor(s / 60);
  if (minutes < 60) return minutes < 10 && s % 60 ? `${minutes} min ${s % 60} s` : `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return minutes % 60 ? `${hours} h ${minutes % 60} min` : `${hours} h`;
  const days = Math.floor(hours / 24);
  return hours % 24 ? `${days} d ${hours % 24} h` : `${days} d`;
}

/** How long before `now` (both Unix seconds) something was: `just now`, `12 s ago`, `in 5 min`. */
export function ago(at: Maybe, now: number): string {
  if (!known(at)) return UNKNOWN;
  const passed = now - at;
  if (passed < -1.5) return `in ${coarse(-passed)}`;
  return passed < 1 ? 'just now' : `${coarse(passed)} ago`;
}

// Without `Intl`: the first use of it in a page takes as long as everything else that runs before the page is drawn.
const two = (value: number): string => String(value).padStart(2, '0');

/** Local date and time to the second, with the distance to UTC: what hovering over a relative time shows. */
export function absolute(at: Maybe): string {
  return known(at) ? `${moment(at)} ${zone(new Date(at * 1000))}` : UNKNOWN;
}

/** Local date and time to the second: `2026-11-27 09:05:00`. */
export function moment(at: number): string {
  const date = new Date(at * 1000);
  return `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())} ${clock(at)}`;
}

/** Local time to the second: `09:05:00`. */
export function clock(at: Maybe): string {
  if (!known(at)) return UNKNOWN;
  const date = new Date(at * 1000);
  return `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
}

/** `UTC`, `UTC+1`, `UTC−3:30`. */
function zone(date: Date): string {
  const east = -date.getTimezoneOffset();
  if (east === 0) return 'UTC';
  const minutes = Math.abs(east);
  return `UTC${east < 0 ? '−' : '+'}${Math.floor(minutes / 60)}${minutes % 60 ? `:${two(minutes % 60)}` : ''}`;
}

/** `1 node`, `2 nodes`; with words of their own for several: `1 was`, `2 were`. */
export function plural(many: number, noun: string, several = `${noun}s`): string {
  return `${count(many)} ${many === 1 ? noun : several}`;
}
