/** What this browser keeps between visits: choices of how things look, never data of the fleet. */

const PREFIX = 'modelgrid:';

/** The value kept under `key`; `null` when there is none or it cannot be read. */
export function remembered<T>(key: string): T | null {
  try {
    const text = localStorage.getItem(PREFIX + key);
    return text === null ? null : (JSON.parse(text) as T);
  } catch {
    // Storage is switched off, or holds something else: the default serves.
    return null;
  }
}

/** Keep a value under `key`; `null` forgets it. */
export function remember(key: string, value: unknown): void {
  try {
    if (value === null) localStorage.removeItem(PREFIX + key);
    else localStorage.setItem(PREFIX + key, JSON.stringify(value));
  } catch {
    // Storage is switched off or full: the choice holds until the page is left.
  }
}
