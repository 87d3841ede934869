import { css, html } from 'lit';
import { customElement } from 'lit/decorators.js';
import { MgElement } from './element.ts';

/** Lines below each other in one cell: the thing itself, then in `<small>` what explains it, or what went wrong. */
@customElement('mg-stack')
export class MgStack extends MgElement {
  static override styles = [
    MgElement.styles,
    css`
      :host { display: inline-grid; gap: 2px; min-width: 0; max-width: 100%; text-align: start; }
      ::slotted(small) { color: var(--text-2); font-size: 12px; line-height: 16px; overflow-wrap: anywhere; max-width: 56ch; }
      ::slotted([role='alert']) { color: var(--critical); }
      ::slotted(.done) { color: var(--ok); }
    `,
  ];

  protected override render(): unknown {
    return html`<slot></slot>`;
  }
}
