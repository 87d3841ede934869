import { css, html, nothing } from 'lit';
import { customElement, property } from 'lit/decorators.js';
import { repeat } from 'lit/directives/repeat.js';
import type { Schemas } from '../../data/client.ts';
import { MgElement } from '../../kit/element.ts';
import { absolute, clock, duration } from '../../kit/format.ts';
import { kindOf, shape } from '../../kit/status.ts';

export type EventView = Schemas['EventView'];

/** Events, oldest first, with the time that passed between them. */
@customElement('mg-timeline')
export class MgTimeline extends MgElement {
  static override styles = [
    MgElement.styles,
    css`
      li { display: grid; grid-template-columns: 64px 16px 1fr; gap: 0 8px; padding-bottom: 12px; position: relative; }
      li:not(:last-child)::before { content: ''; position: absolute; top: 18px; bottom: -2px; left: 79px; border-left: 1px solid var(--hairline); }
      time { color: var(--text-2); font-size: 12px; }
      .shape { width: 13px; height: 13px; margin-top: 3px; }
      .warning { color: var(--warning); }
      .critical { color: var(--critical); }
      .idle { color: var(--accent); }
      b { font-weight: 600; }
      p { overflow-wrap: anywhere; }
      .passed { color: var(--text-3); font-size: 12px; }
      dl { display: grid; grid-template-columns: auto 1fr; gap: 0 10px; margin-top: 4px; font-size: 12px; line-height: 16px; }
      dt { color: var(--text-2); }
      dd { overflow-wrap: anywhere; }
      details summary { color: var(--text-2); font-size: 12px; cursor: pointer; }
    `,
  ];

  @property({ attribute: false }) events: readonly EventView[] = [];

  #verdicts(event: EventView): unknown {
    const verdicts = event.data['verdicts'];
    if (!verdicts || typeof verdicts !== 'object') return nothing;
    const rows = Object.entries(verdicts as Record<string, string>);
    return html`<details><summary>Every GPU that was looked at (${rows.length})</summary>
      <dl>${rows.map(([where, why]) => html`<dt>${where}</dt><dd>${why}</dd>`)}</dl></details>`;
  }

  protected override render(): unknown {
    const events = this.events;
    return html`<ol>
      ${repeat(
        events,
        (event) => event.seq,
        (event, index) => {
          const before = events[index - 1];
          const kind = event.level === 'error' ? 'critical' : kindOf(event.level);
          return html`<li>
            <time datetime=${new Date(event.at * 1000).toISOString()} title=${absolute(event.at)}>${clock(event.at)}</time>
            <span class=${kind}>${shape(kind === 'idle' ? 'ok' : kind)}</span>
            <div>
              <p><b>${event.kind.replaceAll('_', ' ')}</b>${event.message ? html` ${event.message}` : nothing}</p>
              ${before && event.at - before.at >= 0.1 ? html`<span class="passed">${duration(event.at - before.at)} later</span>` : nothing}
              ${this.#verdicts(event)}
            </div>
          </li>`;
        },
      )}
    </ol>`;
  }
}
