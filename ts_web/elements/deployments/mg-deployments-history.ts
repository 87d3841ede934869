import { css, html, nothing } from 'lit';
import { customElement } from 'lit/decorators.js';
import { api, call, type Schemas } from '../../data/client.ts';
import { LiveCollection } from '../../data/live.ts';
import '../../kit/badge.ts';
import { MgElement } from '../../kit/element.ts';
import { UNKNOWN } from '../../kit/format.ts';
import '../../kit/states.ts';
import '../../kit/status.ts';
import '../../kit/table.ts';
import type { Column } from '../../kit/table.ts';
import '../../kit/time.ts';
import { hrefWith, param, setParams } from '../../router.ts';

type HistoryView = Schemas['HistoryView'];

const NEWEST = 1000;

/** Follows the deployments: whenever one of them changes, the list may have grown. */
class History extends LiveCollection<HistoryView> {
  constructor() {
    super('deployments', (one) => one.id, () => call(api.GET('/v1/_ui/history', { params: { query: { limit: NEWEST } } })));
  }

  protected override apply(): void {
    this.reload();
  }
}

/** Deployments ▸ History: what was stopped, removed or given up, and why. */
@customElement('mg-deployments-history')
export class MgDeploymentsHistory extends MgElement {
  static override styles = [MgElement.styles, css`:host { display: block; }`];

  readonly #history = new History();

  override connectedCallback(): void {
    super.connectedCallback();
    this.whileConnected(() => this.#history.hold());
  }

  readonly #columns: readonly Column<HistoryView>[] = [
    { id: 'id', label: 'Deployment', main: true, cell: (one) => html`<a href=${hrefWith({ open: one.id, tab: null, line: null })}>${one.id}</a>`, sort: (one) => one.id },
    { id: 'state', label: 'Ended as', nowrap: true, cell: (one) => html`<mg-status state=${one.state}></mg-status>`, sort: (one) => one.state },
    { id: 'reason', label: 'Reason', cell: (one) => one.reason, sort: (one) => one.reason },
    { id: 'by', label: 'By', cell: (one) => one.by || UNKNOWN, sort: (one) => one.by || null },
    { id: 'model', label: 'Model', cell: (one) => one.model, sort: (one) => one.model },
    { id: 'node', label: 'Node', cell: (one) => one.node ?? UNKNOWN, sort: (one) => one.node },
    { id: 'origin', label: 'Origin', cell: (one) => html`<mg-badge>${one.origin}</mg-badge>`, sort: (one) => one.origin, optional: true },
    { id: 'ended', label: 'Ended', nowrap: true, numeric: true, cell: (one) => html`<mg-time .at=${one.ended_at}></mg-time>`, sort: (one) => one.ended_at },
  ];

  protected override render(): unknown {
    const all = this.#history.items.value;
    const open = param('open');
    if (open) void import('./mg-history-drawer.ts');
    return html`<h1 class="visually-hidden">Deployment history</h1>
      <mg-state .source=${this.#history} rows="5">
        ${all.length
          ? html`<mg-table name="history" label="ended deployments" sort="-ended" .columns=${this.#columns} .rows=${all} .current=${open}
              .rowKey=${(one: HistoryView) => one.id}></mg-table>`
          : html`<mg-empty heading="Nothing has ended yet" icon="deployments"><p>Deployments that were stopped, removed or given up are kept here with their last 500 lines.</p></mg-empty>`}
      </mg-state>
      ${open ? html`<mg-history-drawer .deployment=${open} @mg-close=${() => setParams({ open: null, tab: null, find: null, expression: null, line: null })}></mg-history-drawer>` : nothing}`;
  }
}
