import { css, html, nothing } from 'lit';
import { customElement, property, query } from 'lit/decorators.js';
import { repeat } from 'lit/directives/repeat.js';
import { MgElement } from './element.ts';
import { clock } from './format.ts';

export interface Line {
  readonly key: number;
  readonly at: number;
  readonly level: string;
  readonly text: string;
}

// Colours and cursor movements of terminals (ECMA-48), and what no screen shows.
const ESCAPES = /\u001b(?:\[[0-?]*[ -/]*[@-~]|\][^\u0007\u001b]*(?:\u0007|\u001b\\)|[@-Z\\-_])/g;
const CONTROLS = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/g;

/** The text of a line without what a terminal would do with it. */
export function plain(text: string): string {
  return text.replace(ESCAPES, '').replace(CONTROLS, '');
}

/** Lines of a log, oldest first. Stays at the newest while the reader is there; scrolling up stops that. */
@customElement('mg-log-lines')
export class MgLogLines extends MgElement {
  static override styles = [
    MgElement.styles,
    css`
      :host { display: block; min-height: 0; }
      div { height: 100%; max-height: inherit; overflow: auto; overscroll-behavior: contain; border: 1px solid var(--hairline); border-radius: 6px; background: var(--bg); }
      ol { padding: 6px 0; font: 12px/17px var(--mono); }
      li { display: flex; gap: 10px; padding: 0 10px; }
      li.warning { background: var(--warning-tint); }
      li.error { background: var(--critical-tint); }
      time { flex: none; color: var(--text-3); user-select: none; }
      b { flex: none; width: 7ch; color: var(--text-3); font-weight: 400; }
      .warning b { color: var(--warning); }
      .error b { color: var(--critical); }
      span { min-width: 0; white-space: pre-wrap; overflow-wrap: anywhere; unicode-bidi: isolate; }
      @media (max-width: 520px) { time { display: none; } }
    `,
  ];

  @property({ attribute: false }) lines: readonly Line[] = [];
  @property() label = 'Log';
  @query('div') private pane!: HTMLElement;
  #atEnd = true;

  protected override updated(): void {
    if (this.#atEnd) this.pane.scrollTop = this.pane.scrollHeight;
  }

  protected override render(): unknown {
    return html`<div
      role="region" tabindex="0" aria-label=${this.label}
      @scroll=${() => (this.#atEnd = this.pane.scrollHeight - this.pane.scrollTop - this.pane.clientHeight < 24)}
    ><ol>
      ${repeat(
        this.lines,
        (line) => line.key,
        (line) => html`<li class=${line.level}><time>${clock(line.at)}</time>${line.level === 'info' ? nothing : html`<b>${line.level}</b>`}<span>${plain(line.text)}</span></li>`,
      )}
    </ol></div>`;
  }
}
