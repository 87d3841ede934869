import { css, html } from 'lit';
import { customElement, property } from 'lit/decorators.js';
import { MgElement } from './element.ts';
import type { Kind } from './status.ts';

/** A small word on a tint: a role, an origin, `restart required`. `tone` colours it; the word alone carries the meaning. */
@customElement('mg-badge')
export class MgBadge extends MgElement {
  static override styles = [
    MgElement.styles,
    css`
      :host { display: inline-block; }
      span {
        display: inline-block;
        max-width: 100%;
        padding: 0 7px;
        border: 1px solid var(--hairline);
        border-radius: 999px;
        background: var(--idle-tint);
        color: var(--text-2);
        font-size: 12px;
        line-height: 18px;
        overflow: hidden;
        text-overflow: ellipsis;
        white-space: nowrap;
        vertical-align: bottom;
      }
      .ok { background: var(--ok-tint); color: var(--ok); border-color: transparent; }
      .busy { background: var(--accent-tint); color: var(--accent); border-color: transparent; }
      .warning { background: var(--warning-tint); color: var(--warning); border-color: transparent; }
      .critical { background: var(--critical-tint); color: var(--critical); border-color: transparent; }
      .maintenance { background: var(--maintenance-tint); color: var(--maintenance); border-color: transparent; }
    `,
  ];

  @property() tone: Kind = 'idle';

  protected override render(): unknown {
    return html`<span class=${this.tone}><slot></slot></span>`;
  }
}
