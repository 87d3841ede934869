import { signal } from '@preact/signals-core';
import { remember, remembered } from './kit/remember.ts';
import { navigate } from './router.ts';
import { AREAS } from './views.ts';

/** Keys without modifiers, which can be bound anew and switched off (WCAG 2.1.4). `Ctrl K` always works. */
export interface Shortcut {
  readonly name: string;
  readonly label: string;
  readonly keys: string;
  readonly run: () => void;
}

export type Global = 'search' | 'palette' | 'sheet' | 'pause' | 'next' | 'previous';

const bindings = signal<Readonly<Record<string, string>>>(remembered<Record<string, string>>('keys') ?? {});
/** Whether keys without modifiers do anything. */
export const enabled = signal(remembered<boolean>('keys-on') ?? true);

export function enable(on: boolean): void {
  enabled.value = on;
  remember('keys-on', on);
}

/** The keys of a shortcut as they are bound now: `g o`, `/`. */
export function keysOf(shortcut: Shortcut): string {
  return bindings.value[shortcut.name] ?? shortcut.keys;
}

/** Bind a shortcut anew; empty goes back to its default. */
export function bind(shortcut: Shortcut, keys: string): void {
  const { [shortcut.name]: _, ...rest } = bindings.value;
  bindings.value = keys.trim() && keys.trim() !== shortcut.keys ? { ...rest, [shortcut.name]: keys.trim() } : rest;
  remember('keys', bindings.value);
}

/** All shortcuts; what the global ones do is the shell's. */
export function shortcuts(run: (what: Global) => void): readonly Shortcut[] {
  const globals: readonly (readonly [Global, string, string])[] = [
    ['search', '/', 'Search in this view'],
    ['palette', 'p', 'Go to anything (also Ctrl K)'],
    ['pause', 'Space', 'Pause or resume live data'],
    ['next', 'j', 'Next row'],
    ['previous', 'k', 'Previous row'],
    ['sheet', '?', 'This sheet'],
  ];
  return [
    ...AREAS.map((area) => ({
      name: area.name,
      label: `Go to ${area.title}`,
      keys: `g ${area.key}`,
      run: () => navigate(area.views[0]?.path ?? '/'),
    })),
    ...globals.map(([name, keys, label]) => ({ name, keys, label, run: () => run(name) })),
  ];
}

const SEQUENCE_MS = 1_200;

/** Listen for the keys; returns what stops it. */
export function startShortcuts(all: readonly Shortcut[], palette: () => void): () => void {
  let typed: string[] = [];
  let at = 0;
  const onKey = (event: KeyboardEvent): void => {
    if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === 'k') {
      event.preventDefault();
      palette();
      return;
    }
    if (!enabled.value || event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented || takesText(event)) return;
    if (event.timeStamp - at > SEQUENCE_MS) typed = [];
    at = event.timeStamp;
    typed = [...typed.slice(-2), event.key === ' ' ? 'Space' : event.key];
    const found = all.find((one) => ` ${typed.join(' ')}`.endsWith(` ${keysOf(one)}`) && !shadowed(one, typed));
    if (!found) return;
    typed = [];
    event.preventDefault();
    found.run();
  };
  // `g g` must not be taken for a shortcut that is `g` alone in the middle of a sequence, and the reverse.
  const shadowed = (one: Shortcut, keys: readonly string[]): boolean =>
    all.some((other) => keysOf(other).split(' ').length > keysOf(one).split(' ').length && keysOf(other) === keys.join(' '));
  document.addEventListener('keydown', onKey);
  return () => document.removeEventListener('keydown', onKey);
}

/** Whether a key goes into what somebody is typing, or into an open dialog. */
export function takesText(event: KeyboardEvent): boolean {
  const target = event.composedPath()[0];
  if (!(target instanceof HTMLElement)) return false;
  if (document.querySelector('dialog[open]') ?? target.closest('dialog')) return true;
  if (target.isContentEditable || target.matches('input:not([type=checkbox]):not([type=radio]), textarea, select')) return true;
  // Space presses buttons and opens links' menus; it is theirs.
  return event.key === ' ' && target.matches('button, a, summary, input, [tabindex]');
}
