import { css, html, nothing } from 'lit';
import { customElement } from 'lit/decorators.js';
import { link, lost, retryStream, silence, stale } from '../../data/stream.ts';
import { now } from '../../kit/clock.ts';
import { MgElement } from '../../kit/element.ts';
import { coarse } from '../../kit/format.ts';
import { shape } from '../../kit/status.ts';

/** How fresh what is shown is: live, or since when nothing came and when the next try is. */
@customElement('mg-link-state')
export class MgLinkState extends MgElement {
  static override styles = [
    MgElement.styles,
    css`
      .chip {
        display: inline-flex;
        align-items: center;
        gap: 6px;
        min-height: 28px;
        padding: 0 10px;
        border: 1px solid var(--hairline);
        border-radius: 999px;
        color: var(--text-2);
        font-size: 12px;
        white-space: nowrap;
      }
      .shape { width: 11px; height: 11px; }
      .live .shape { color: var(--ok); }
      .off { border-color: var(--warning); background: var(--warning-tint); color: var(--warning); }
      @media (max-width: 760px) { .wait { display: none; } }
      button {
        min-height: 24px;
        margin-right: -8px;
        padding: 0 8px;
        border: 0;
        border-radius: 999px;
        background: none;
        color: inherit;
        font: inherit;
        text-decoration: underline;
        cursor: pointer;
      }
    `,
  ];

  protected override render(): unknown {
    void now.value;
    const { state: is, retryAt, why } = link.value;
    if (is === 'live' && !stale.value) return html`<span class="chip live">${shape('ok')} Live</span>`;
    if (is !== 'waiting' && why === '' && !lost.value) return html`<span class="chip">${shape('busy')} Connecting</span>`;
    const age = Number.isFinite(silence.value) ? `no data for ${coarse(silence.value)}` : 'not live';
    const wait = Math.max(0, Math.ceil((retryAt - Date.now()) / 1000));
    return html`<span class="chip off" role="status" aria-label="The connection to the daemon is lost">
      ${shape('warning')} ${age}${is === 'waiting' && wait > 0 ? html`<span class="wait"> · next try in ${wait} s</span>` : nothing}
      <button type="button" @click=${retryStream}>Try now</button>
    </span>`;
  }
}
