import { signal } from '@preact/signals-core';
import { css, html, nothing } from 'lit';
import { customElement } from 'lit/decorators.js';
import { announce } from './announce.ts';
import { MgElement } from './element.ts';
import { icon } from './icons.ts';
import { shape, type Kind } from './status.ts';

export interface Toast {
  readonly text: string;
  readonly kind?: Kind;
  /** A link, for example to the drawer of what was made. */
  readonly link?: { readonly href: string; readonly label: string };
  /** A button that takes it back. */
  readonly undo?: () => void;
  /** Seconds it stays; failures stay until they are closed. */
  readonly seconds?: number;
}

interface Shown extends Toast {
  readonly id: number;
}

const shown = signal<readonly Shown[]>([]);
let last = 0;

/** Say in a corner that something happened. Returns what closes it. */
export function toast(what: Toast): () => void {
  const id = ++last;
  const close = (): void => {
    shown.value = shown.value.filter((item) => item.id !== id);
  };
  shown.value = [...shown.value.slice(-3), { ...what, id }];
  announce(what.text, what.kind === 'critical' ? 'assertive' : 'polite');
  const seconds = what.seconds ?? (what.kind === 'critical' ? 0 : 8);
  if (seconds) setTimeout(close, seconds * 1000);
  return close;
}

/** Where toasts appear; the shell has one. */
@customElement('mg-toasts')
export class MgToasts extends MgElement {
  static override styles = [
    MgElement.styles,
    css`
      :host {
        position: fixed;
        z-index: 30;
        right: 16px;
        bottom: 16px;
        display: grid;
        gap: 8px;
        width: min(400px, calc(100vw - 32px));
      }
      div {
        display: flex;
        align-items: center;
        gap: 10px;
        padding: 8px 8px 8px 14px;
        border: 1px solid var(--control);
        border-radius: 8px;
        background: var(--s3);
        box-shadow: var(--shadow);
        animation: in var(--motion);
      }
      p { flex: 1; min-width: 0; overflow-wrap: anywhere; max-height: 120px; overflow: auto; }
      .shape { width: 14px; height: 14px; flex: none; }
      .ok { color: var(--ok); }
      .busy { color: var(--accent); }
      .warning { color: var(--warning); }
      .critical { color: var(--critical); }
      .idle, .unknown { color: var(--idle); }
      .maintenance { color: var(--maintenance); }
      @keyframes in { from { opacity: 0; transform: translateY(6px); } }
    `,
  ];

  protected override render(): unknown {
    return shown.value.map((item) => {
      const close = (): void => {
        shown.value = shown.value.filter((other) => other.id !== item.id);
      };
      return html`<div>
        <span class=${item.kind ?? 'ok'}>${shape(item.kind ?? 'ok')}</span>
        <p>${item.text}${item.link ? html` <a href=${item.link.href} @click=${close}>${item.link.label}</a>` : nothing}</p>
        ${item.undo
          ? html`<button type="button" class="btn" @click=${() => (item.undo?.(), close())}>Undo</button>`
          : nothing}
        <button type="button" class="btn ghost icon-only" aria-label="Close message" @click=${close}>${icon('close')}</button>
      </div>`;
    });
  }
}
