import { css, html } from 'lit';
import { customElement, property, state } from 'lit/decorators.js';
import { copyText } from './clipboard.ts';
import { MgElement } from './element.ts';
import { icon } from './icons.ts';
import { announce } from './announce.ts';

/**
 * A value with a button that copies it. `short` shows only the beginning; the whole is in the title and is copied.
 * With `wraps` it takes the lines that it needs, and a URL begins a new one after its scheme rather than within its host.
 */
@customElement('mg-id')
export class MgId extends MgElement {
  static override styles = [
    MgElement.styles,
    css`
      :host { display: inline-flex; align-items: center; gap: 2px; min-width: 0; max-width: 100%; }
      code { overflow: hidden; text-overflow: ellipsis; white-space: nowrap; font: 12px/17px var(--mono); }
      :host([wraps]) { display: inline; }
      :host([wraps]) code { white-space: normal; overflow-wrap: anywhere; }
      :host([wraps]) button { vertical-align: middle; }
      button {
        display: inline-grid;
        place-items: center;
        width: 24px;
        height: 24px;
        padding: 0;
        border: 0;
        border-radius: 4px;
        background: none;
        color: var(--text-3);
        cursor: pointer;
      }
      button:hover { color: var(--text); background: var(--s3); }
      svg.icon { width: 13px; height: 13px; }
      .done { color: var(--ok); }
    `,
  ];

  @property() value = '';
  @property({ type: Number }) short = 0;
  @property() label = '';
  @property({ type: Boolean, reflect: true }) wraps = false;
  @state() private copied = false;

  async #copy(event: Event): Promise<void> {
    event.stopPropagation();
    this.copied = await copyText(this.value);
    announce(this.copied ? 'Copied' : 'The browser refused to copy');
    setTimeout(() => (this.copied = false), 1500);
  }

  protected override render(): unknown {
    const cut = this.short > 0 && this.value.length > this.short;
    const [scheme, rest] = this.value.split(/(?<=:\/\/)/);
    const shown = cut ? this.value.slice(0, this.short) : this.value;
    return html`<code title=${this.value}>${this.wraps && rest ? html`${scheme}<wbr />${rest}` : shown}</code
      ><button
        type="button"
        class=${this.copied ? 'done' : ''}
        aria-label=${`Copy ${this.label || this.value}`}
        @click=${this.#copy}
      >
        ${icon(this.copied ? 'check' : 'copy')}
      </button>`;
  }
}

/** A command to paste into a terminal, with a button that copies it. */
@customElement('mg-command')
export class MgCommand extends MgElement {
  static override styles = [
    MgElement.styles,
    css`
      :host { display: flex; align-items: flex-start; gap: 8px; min-width: 0; }
      pre {
        flex: 1;
        min-width: 0;
        margin: 0;
        padding: 6px 10px;
        border: 1px solid var(--hairline);
        border-radius: 6px;
        background: var(--bg);
        color: var(--text);
        font: 12px/17px var(--mono);
        white-space: pre-wrap;
        overflow-wrap: anywhere;
        text-align: left;
      }
    `,
  ];

  @property() text = '';
  @property() label = 'command';
  @state() private copied = false;

  async #copy(): Promise<void> {
    this.copied = await copyText(this.text);
    announce(this.copied ? 'Copied' : 'The browser refused to copy');
    setTimeout(() => (this.copied = false), 1500);
  }

  protected override render(): unknown {
    return html`<pre>${this.text}</pre>
      <button type="button" class="btn" aria-label=${`${this.copied ? 'Copied' : 'Copy'} ${this.label}`} @click=${this.#copy}>
        ${icon(this.copied ? 'check' : 'copy')} ${this.copied ? 'Copied' : 'Copy'}
      </button>`;
  }
}
