import { css, html, nothing, type PropertyValues } from 'lit';
import { customElement, property } from 'lit/decorators.js';
import { state } from '../../appstate.ts';
import { api, call } from '../../data/client.ts';
import { LiveCollection, LiveDocument } from '../../data/live.ts';
import '../../kit/drawer.ts';
import { MgElement } from '../../kit/element.ts';
import '../../kit/menu.ts';
import '../../kit/states.ts';
import '../../kit/status.ts';
import '../../kit/tabs.ts';
import { hrefWith, param } from '../../router.ts';
import { actionsOf, notes } from './actions.ts';
import './mg-deployment-summary.ts';
import type { Detail } from './mg-deployment-summary.ts';
import './mg-timeline.ts';
import type { EventView } from './mg-timeline.ts';
import { progressOf } from './progress.ts';

const DOWN: readonly string[] = ['failed', 'stopped', 'pending'];
const TABS = ['summary', 'logs', 'metrics', 'events'] as const;

/** One deployment: why it is where it is, what it says, what happened. */
@customElement('mg-deployment-drawer')
export class MgDeploymentDrawer extends MgElement {
  static override styles = [
    MgElement.styles,
    css`
      h2 { font-size: 16px; line-height: 24px; overflow-wrap: anywhere; }
      .why { color: var(--text-2); overflow-wrap: anywhere; }
      small { display: block; font-size: 13px; overflow-wrap: anywhere; }
      small[role='alert'] { color: var(--critical); }
      small.done { color: var(--ok); }
      .undo { border: 0; background: none; color: var(--accent); font: inherit; text-decoration: underline; cursor: pointer; }
    `,
  ];

  @property() deployment = '';
  #detail!: LiveDocument<Detail>;
  #events!: LiveCollection<EventView>;
  #letGo: (() => void)[] = [];
  #seen = '';

  override connectedCallback(): void {
    super.connectedCallback();
    this.whileConnected(() => state.deployments.hold());
    this.whileConnected(() => () => this.#release());
    if (this.hasUpdated) this.#open();
  }

  #open(): void {
    this.#release();
    const path = { deployment: this.deployment };
    const topic = `deployment:${this.deployment}`;
    this.#detail = new LiveDocument<Detail>(topic, () => call(api.GET('/v1/_ui/deployments/{deployment}', { params: { path } })));
    this.#events = new LiveCollection<EventView>(topic, (event) => String(event.seq), () =>
      call(api.GET('/v1/_ui/deployments/{deployment}/events', { params: { path, query: { limit: 1000 } } })),
    );
    this.#letGo = [this.#detail.hold(), this.#events.hold()];
  }

  #release(): void {
    for (const release of this.#letGo.splice(0)) release();
  }

  protected override willUpdate(changed: PropertyValues): void {
    if (changed.has('deployment')) {
      this.#open();
    }
    // The row is live; the detail is loaded again when the row says that something happened.
    const row = state.deployments.get(this.deployment);
    const seen = row ? `${row.state} ${row.attempt} ${row.intent} ${row.node ?? ''}` : '';
    if (seen && this.#seen && seen !== this.#seen && !changed.has('deployment')) this.#detail.reload();
    this.#seen = seen;
  }

  #tab(): unknown {
    const tab = param('tab');
    if (tab === 'logs') {
      void import('./mg-deployment-logs.ts');
      const row = state.deployments.get(this.deployment);
      const down = row && DOWN.includes(row.state) ? row.state : '';
      return html`<mg-deployment-logs .deployment=${this.deployment} down=${down}></mg-deployment-logs>`;
    }
    if (tab === 'metrics') {
      void import('./mg-deployment-metrics.ts');
      return html`<mg-deployment-metrics .deployment=${this.deployment}></mg-deployment-metrics>`;
    }
    if (tab === 'events') {
      return html`<mg-state .source=${this.#events} rows="6"><mg-timeline .events=${this.#events.items.value}></mg-timeline></mg-state>`;
    }
    const detail = this.#detail.value;
    return html`<mg-state .source=${this.#detail} rows="8">${detail ? html`<mg-deployment-summary .detail=${detail}></mg-deployment-summary>` : nothing}</mg-state>`;
  }

  protected override render(): unknown {
    const row = state.deployments.get(this.deployment);
    const current = param('tab') || 'summary';
    const tabs = TABS.map((tab) => ({
      href: hrefWith({ tab: tab === 'summary' ? null : tab, find: null, expression: null, line: null }),
      label: tab.charAt(0).toUpperCase() + tab.slice(1),
      current: tab === current,
    }));
    const why = row ? progressOf(row) : '';
    return html`<mg-drawer label=${`Deployment ${this.deployment}`}>
      <div slot="heading">
        <h2>${this.deployment}</h2>
        ${row ? html`<mg-status state=${row.state}></mg-status>` : html`<p class="muted">It is no longer active: the <a href=${`/deployments/history?open=${encodeURIComponent(this.deployment)}`}>history</a> has what is left of it.</p>`}
        ${why ? html`<p class="why">${why}</p>` : nothing}
        ${notes.of(this.deployment)}
      </div>
      ${row
        ? html`<mg-menu slot="actions" label="Actions" worded icon="down" .items=${actionsOf(row).slice(1)}></mg-menu>`
        : nothing}
      <mg-tabs slot="tabs" label="Details" .tabs=${tabs}></mg-tabs>
      ${this.#tab()}
    </mg-drawer>`;
  }
}
