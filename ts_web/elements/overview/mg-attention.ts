import { css, html, nothing } from 'lit';
import { customElement } from 'lit/decorators.js';
import { reasons, type Reason } from '../../fleet.ts';
import { MgElement } from '../../kit/element.ts';
import '../../kit/card.ts';
import '../../kit/status.ts';
import '../../kit/table.ts';
import type { Column } from '../../kit/table.ts';
import '../../kit/time.ts';
import { resolve } from '../../views.ts';

/** What needs somebody, worst first: what, why, what it does to clients, since when, and where to go. */
@customElement('mg-attention')
export class MgAttention extends MgElement {
  static override styles = [MgElement.styles, css`:host { display: block; }`];

  readonly #columns: readonly Column<Reason>[] = [
    {
      id: 'what',
      label: 'What',
      main: true,
      cell: (reason) => html`<mg-status wrap kind=${reason.severity} word=${reason.what}></mg-status>`,
    },
    { id: 'cause', label: 'Cause', cell: (reason) => reason.cause },
    { id: 'impact', label: 'Impact', cell: (reason) => reason.impact },
    { id: 'since', label: 'For', nowrap: true, cell: (reason) => (reason.since ? html`<mg-time mode="for" .at=${reason.since}></mg-time>` : nothing) },
    { id: 'go', label: '', actions: true, cell: (reason) => (resolve(reason.link.split('?')[0] ?? '') ? html`<a href=${reason.link}>Open</a>` : nothing) },
  ]; // prettier-ignore

  protected override render(): unknown {
    const all = reasons.value;
    const empty = new Set([...(all.some((r) => r.impact) ? [] : ['impact']), ...(all.some((r) => r.since) ? [] : ['since'])]);
    const columns = this.#columns.filter((column) => !empty.has(column.id));
    return html`<mg-card heading="Needs attention" note="worst first">
      <mg-table bare label="problems" .columns=${columns} .rows=${all} .rowKey=${(r: Reason) => `${r.what} ${r.cause}`}></mg-table>
    </mg-card>`;
  }
}
