import { css, html } from 'lit';
import { customElement, property } from 'lit/decorators.js';
import { MgElement } from './element.ts';

/** A titled surface. Slots: the content, and `actions` at the right of the heading. */
@customElement('mg-card')
export class MgCard extends MgElement {
  static override styles = [
    MgElement.styles,
    css`
      :host { display: block; min-width: 0; }
      section {
        height: 100%;
        padding: 12px 16px;
        border: 1px solid var(--hairline);
        border-radius: 8px;
        background: var(--s1);
      }
      header { display: flex; align-items: center; gap: 8px; min-height: 24px; margin-bottom: 8px; }
      h2 { color: var(--text-2); font-weight: 500; }
      .note { color: var(--text-3); font-size: 12px; }
      .actions { margin-left: auto; display: flex; align-items: center; gap: 8px; }
      :host([flush]) section { padding-left: 0; padding-right: 0; padding-bottom: 0; overflow: hidden; }
      :host([flush]) header { padding: 0 16px; }
      @media (max-width: 760px) {
        section { padding: 12px; }
        :host([flush]) header { padding: 0 12px; }
      }
    `,
  ];

  @property() heading = '';
  @property() note = '';

  protected override render(): unknown {
    return html`<section aria-label=${this.heading}>
      ${this.heading
        ? html`<header>
            <h2>${this.heading}</h2>
            ${this.note ? html`<span class="note">${this.note}</span>` : ''}
            <div class="actions"><slot name="actions"></slot></div>
          </header>`
        : ''}
      <slot></slot>
    </section>`;
  }
}
