import { css, html } from 'lit';
import { customElement, property } from 'lit/decorators.js';
import { now } from './clock.ts';
import { MgElement } from './element.ts';
import { absolute, ago, coarse } from './format.ts';

/** A ticking time: relative in the text, absolute on hover and focus. `mode="for"` shows the length alone. */
@customElement('mg-time')
export class MgTime extends MgElement {
  static override styles = [MgElement.styles, css`:host { white-space: nowrap; }`];

  /** Unix seconds. */
  @property({ type: Number }) at: number | null = null;
  @property() mode: 'ago' | 'for' = 'ago';

  protected override render(): unknown {
    if (this.at === null || this.at === undefined) return '—';
    const text = this.mode === 'for' ? coarse(now.value - this.at) : ago(this.at, now.value);
    return html`<time datetime=${new Date(this.at * 1000).toISOString()} title=${absolute(this.at)}>${text}</time>`;
  }
}
