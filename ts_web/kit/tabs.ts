import { css, html, nothing } from 'lit';
import { customElement, property } from 'lit/decorators.js';
import { MgElement } from './element.ts';

export interface Tab {
  readonly href: string;
  readonly label: string;
  readonly current: boolean;
  readonly count?: string;
}

/** A strip of links to subviews; the current one has `aria-current`. */
@customElement('mg-tabs')
export class MgTabs extends MgElement {
  static override styles = [
    MgElement.styles,
    css`
      :host { display: block; }
      ul { display: flex; gap: 4px; overflow-x: auto; scrollbar-width: none; }
      a {
        display: block;
        padding: 6px 10px;
        border-radius: 6px;
        color: var(--text-2);
        text-decoration: none;
        white-space: nowrap;
      }
      a:hover { color: var(--text); background: var(--s2); }
      a:focus-visible { outline-offset: -2px; }
      a[aria-current] { color: var(--text); background: var(--s3); font-weight: 600; }
      small { color: var(--text-3); font-size: 12px; font-weight: 400; }
      @media (pointer: coarse) { a { padding: 12px; } }
    `,
  ];

  @property({ attribute: false }) tabs: readonly Tab[] = [];
  @property() label = 'Subviews';

  protected override render(): unknown {
    return html`<nav aria-label=${this.label}>
      <ul>
        ${this.tabs.map(
          (tab) =>
            html`<li>
              <a href=${tab.href} aria-current=${tab.current ? 'page' : nothing}
                >${tab.label}${tab.count ? html` <small>${tab.count}</small>` : ''}</a
              >
            </li>`,
        )}
      </ul>
    </nav>`;
  }
}
