import { css, html, nothing } from 'lit';
import { customElement, property } from 'lit/decorators.js';
import { hrefWith, param, setParams } from '../../router.ts';
import { copyText } from '../clipboard.ts';
import { MgElement } from '../element.ts';
import { absolute } from '../format.ts';
import { icon } from '../icons.ts';
import { toast } from '../toast.ts';
import type { LogLine } from './lines.ts';
import { plain } from './sgr.ts';

/** The line that the address names, whole, to copy or to send to somebody. */
@customElement('mg-log-line')
export class MgLogLine extends MgElement {
  static override styles = [
    MgElement.styles,
    css`
      :host { display: block; max-height: 40%; border-top: 1px solid var(--control); background: var(--s2); overflow: auto; }
      section { display: grid; gap: 6px; padding: 6px 10px 8px; }
      header { display: flex; flex-wrap: wrap; align-items: center; gap: 2px 12px; font-size: 12px; color: var(--text-2); }
      header .space { flex: 1 0 0; }
      .btn { font-size: 12px; min-height: 24px; padding: 1px 6px; }
      pre { margin: 0; font: 12px/17px var(--mono); white-space: pre-wrap; overflow-wrap: anywhere; unicode-bidi: isolate; }
      .warning { color: var(--warning); }
      .error { color: var(--critical); }
      @media (pointer: coarse) { .btn { min-height: 44px; } }
    `,
  ];

  @property({ attribute: false }) line!: LogLine;

  async #copy(text: string, what: string): Promise<void> {
    const copied = await copyText(text);
    toast(copied ? { text: `${what} copied.` } : { text: 'The browser refused to copy.', kind: 'warning' });
  }

  protected override render(): unknown {
    const { seq, at, source, level, text } = this.line;
    const link = new URL(hrefWith({ line: seq }), location.href).href;
    return html`<section aria-label="Chosen line">
      <header>
        <span>${absolute(at)}</span><span>${source}</span><span class=${level}>${level}</span><span class="space"></span>
        ${param('q') || param('level') ? html`<a class="btn ghost" href=${hrefWith({ q: null, regex: null, level: null, find: null, line: seq })}>What was said around it</a>` : nothing}
        <button type="button" class="btn ghost" @click=${() => void this.#copy(plain(text), 'Line')}>${icon('copy')} Copy line</button>
        <button type="button" class="btn ghost" @click=${() => void this.#copy(link, 'Link')}>${icon('link')} Copy link</button>
        <button type="button" class="btn ghost icon-only" aria-label="Close the line" @click=${() => setParams({ line: null }, { replace: true })}>${icon('close')}</button>
      </header>
      <pre>${plain(text)}</pre>
    </section>`;
  }
}
