import { signal } from '@preact/signals-core';
import { html, nothing, type TemplateResult } from 'lit';
import { announce } from './announce.ts';

interface Note {
  readonly text: string;
  readonly kind: 'done' | 'refused';
  readonly undo?: () => void;
}

const SECONDS = 8;

/**
 * What became of an action, in the row that it was done to: that it was done (for 8 s, with the way back where there is
 * one), or why the daemon refused it (until the next action there). Rendering reads a signal, so views follow by themselves.
 */
export class RowNotes {
  readonly #notes = signal<ReadonlyMap<string, Note>>(new Map());
  readonly #timers = new Map<string, ReturnType<typeof setTimeout>>();

  /** It was done. */
  done(key: string, text: string, undo?: () => void): void {
    this.#set(key, { text, kind: 'done', ...(undo ? { undo } : {}) });
    announce(text);
    this.#timers.set(key, setTimeout(() => this.clear(key), SECONDS * 1000));
  }

  /** It was refused, for this reason. */
  refuse(key: string, text: string): void {
    this.#set(key, { text, kind: 'refused' });
  }

  /** Forget what was said of a row. */
  clear(key: string): void {
    this.#set(key, undefined);
  }

  #set(key: string, note: Note | undefined): void {
    clearTimeout(this.#timers.get(key));
    this.#timers.delete(key);
    const next = new Map(this.#notes.value);
    if (note) next.set(key, note);
    else next.delete(key);
    this.#notes.value = next;
  }

  /** What is to be shown in a row: a `<small>` for `<mg-stack>`. */
  of(key: string): TemplateResult | typeof nothing {
    const note = this.#notes.value.get(key);
    if (!note) return nothing;
    if (note.kind === 'refused') return html`<small role="alert">${note.text}</small>`;
    const undo = (event: Event): void => {
      event.stopPropagation();
      this.clear(key);
      note.undo?.();
    };
    return html`<small class="done">${note.text}${note.undo ? html` <button type="button" class="undo" @click=${undo}>Undo</button>` : nothing}</small>`;
  }
}
