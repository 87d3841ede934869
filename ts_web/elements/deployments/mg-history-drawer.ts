import { css, html, nothing, type PropertyValues } from 'lit';
import { customElement, property } from 'lit/decorators.js';
import { api, call, type Schemas } from '../../data/client.ts';
import { LiveCollection, LiveDocument } from '../../data/live.ts';
import type { Change } from '../../data/stream/protocol.ts';
import '../../kit/drawer.ts';
import { MgElement } from '../../kit/element.ts';
import { EndedLog } from '../../kit/log/lines.ts';
import '../../kit/log/mg-log.ts';
import '../../kit/states.ts';
import '../../kit/status.ts';
import '../../kit/tabs.ts';
import '../../kit/time.ts';
import { icon } from '../../kit/icons.ts';
import { hrefWith, param } from '../../router.ts';
import './mg-timeline.ts';
import type { EventView } from './mg-timeline.ts';

type Line = Schemas['LogLineView'];
type HistoryView = Schemas['HistoryView'];

/** What is kept of one deployment: its record is written anew when it is started and ends once more. */
class Ended extends LiveDocument<HistoryView> {
  constructor(deployment: string) {
    super(`deployment:${deployment}`, () => call(api.GET('/v1/_ui/history/{deployment}', { params: { path: { deployment } } })));
  }

  protected override apply(changes: readonly Change[]): void {
    if (changes.some((change) => change.op === 'append')) this.reload();
  }
}

/** A deployment that ended: its last lines and its events. */
@customElement('mg-history-drawer')
export class MgHistoryDrawer extends MgElement {
  static override styles = [
    MgElement.styles,
    css`
      h2 { font-size: 16px; line-height: 24px; overflow-wrap: anywhere; }
      p { overflow-wrap: anywhere; }
      mg-log { height: calc(100dvh - 170px); min-height: 200px; }
    `,
  ];

  @property() deployment = '';
  #record!: Ended;
  #events!: LiveCollection<EventView>;
  #letGo: (() => void)[] = [];
  #shown: { readonly lines: readonly Line[]; readonly log: EndedLog } | undefined;

  override connectedCallback(): void {
    super.connectedCallback();
    this.whileConnected(() => () => this.#release());
    if (this.hasUpdated) this.#open();
  }

  #open(): void {
    this.#release();
    const path = { deployment: this.deployment };
    const topic = `deployment:${this.deployment}`;
    this.#record = new Ended(this.deployment);
    this.#events = new LiveCollection<EventView>(topic, (event) => String(event.seq), () =>
      call(api.GET('/v1/_ui/deployments/{deployment}/events', { params: { path, query: { limit: 1000 } } })),
    );
    this.#letGo = [this.#record.hold(), this.#events.hold()];
  }

  #release(): void {
    for (const release of this.#letGo.splice(0)) release();
  }

  #log(lines: readonly Line[]): EndedLog {
    if (this.#shown?.lines !== lines) {
      const log = new EndedLog(lines.map(({ number, at, level, text }) => ({ seq: number, at, source: `deployment:${this.deployment}`, level, text })));
      this.#shown = { lines, log };
    }
    return this.#shown.log;
  }

  protected override willUpdate(changed: PropertyValues): void {
    if (changed.has('deployment')) this.#open();
  }

  protected override render(): unknown {
    const record = this.#record.value;
    const events = param('tab') === 'events';
    const tabs = [
      { href: hrefWith({ tab: null }), label: 'Last lines', current: !events },
      { href: hrefWith({ tab: 'events', find: null, expression: null, line: null }), label: 'Events', current: events },
    ];
    const lines = record?.last_lines ?? [];
    return html`<mg-drawer label=${`Ended deployment ${this.deployment}`}>
      <div slot="heading">
        <h2>${this.deployment}</h2>
        ${record
          ? html`<mg-status state=${record.state}></mg-status>
              <p class="muted">${record.reason}${record.by ? `, by ${record.by}` : ''}, <mg-time .at=${record.ended_at}></mg-time></p>
              <p class="muted">${record.model}${record.node ? ` on ${record.node}` : ''}</p>`
          : nothing}
      </div>
      ${record && record.origin !== 'config'
        ? html`<a slot="actions" class="btn" title="Deploy it again with these settings" href=${`/models/catalog?deploy=${encodeURIComponent(record.model)}&again=${encodeURIComponent(record.id)}`}>${icon('refresh')} Deploy again</a>`
        : nothing}
      <mg-tabs slot="tabs" label="Details" .tabs=${tabs}></mg-tabs>
      ${events
        ? html`<mg-state .source=${this.#events}><mg-timeline .events=${this.#events.items.value}></mg-timeline></mg-state>`
        : html`<mg-state .source=${this.#record}>
            ${lines.length
              ? html`<mg-log ended wrapped label=${`Last lines of ${this.deployment}`} .source=${this.#log(lines)}></mg-log>`
              : html`<mg-empty heading="It left no lines" icon="logs"><p>Its engine never ran, or said nothing.</p></mg-empty>`}
          </mg-state>`}
    </mg-drawer>`;
  }
}
