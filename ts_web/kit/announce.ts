import { signal } from '@preact/signals-core';

/** What screen readers are told; the shell holds the two live regions. */
export const polite = signal('');
export const assertive = signal('');

/** Say something to who cannot see it: politely, or at once when it cannot wait. */
export function announce(text: string, urgency: 'polite' | 'assertive' = 'polite'): void {
  const region = urgency === 'polite' ? polite : assertive;
  region.value = region.value === text ? `${text}\u00a0` : text;
}
