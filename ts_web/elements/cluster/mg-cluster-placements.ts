import { css, html, nothing } from 'lit';
import { customElement } from 'lit/decorators.js';
import { isWorker, state, type PlacementRow } from '../../appstate.ts';
import { repeat } from 'lit/directives/repeat.js';
import { MgElement } from '../../kit/element.ts';
import '../../kit/states.ts';
import { kindOf, shape, shapeStyles } from '../../kit/status.ts';
import '../../kit/status.ts';
import { height, Windowed } from '../../kit/windowed.ts';
import './mg-elsewhere.ts';

const LEAVING: ReadonlySet<string> = new Set(['draining', 'stopping', 'stopped']);

/** Cluster ▸ Placements: model by node, how many replicas and how they are. */
@customElement('mg-cluster-placements')
export class MgClusterPlacements extends MgElement {
  static override styles = [
    MgElement.styles,
    shapeStyles,
    css`
      :host { display: block; }
      .scroll { position: relative; overflow-x: auto; border: 1px solid var(--hairline); border-radius: 8px; background: var(--s1); }
      table { width: 100%; border-collapse: collapse; }
      th, td { padding: 8px 12px; border-top: 1px solid var(--hairline); text-align: left; vertical-align: top; }
      thead th { border-top: 0; color: var(--text-2); font-size: 12px; font-weight: 500; white-space: nowrap; }
      tbody th { font-weight: 400; overflow-wrap: anywhere; min-width: 220px; }
      @media (min-width: 681px) { :is(thead th:first-child, tbody th) { position: sticky; left: 0; z-index: 1; background: var(--s1); } }
      :is(th, td) > .cell { max-width: 44ch; max-height: 168px; margin: -3px; padding: 3px; overflow: auto; }
      thead mg-status { margin-left: 10px; }
      td a:has(small) { display: grid; grid-template-columns: 13px minmax(6ch, auto); align-items: center; justify-content: start; gap: 0 6px; color: var(--text); text-decoration: none; }
      td small { grid-column: 2; white-space: nowrap; }
      td a:has(small):hover { text-decoration: underline; }
      td a + a { margin-top: 4px; }
      td.empty::before { content: '·' / 'none'; color: var(--text-3); }
      tr.gap td { padding: 0; border: 0; }
      small { color: var(--text-2); font-size: 12px; }
      .short { color: var(--warning); }
      td b { color: var(--text-2); font-size: 12px; font-weight: 400; }
      @media (max-width: 680px) {
        .scroll { border: 0; background: none; }
        table, tbody, tr, tbody th, td { display: block; }
        thead { position: absolute; width: 1px; height: 1px; clip-path: inset(50%); overflow: hidden; }
        tbody tr { margin-bottom: 8px; padding: 8px 12px; border: 1px solid var(--hairline); border-radius: 8px; background: var(--s1); }
        tbody th, td { padding: 3px 0; border: 0; }
        tbody th { font-weight: 600; }
        td { display: grid; grid-template-columns: minmax(92px, 34%) 1fr; gap: 8px; }
        td::before { content: attr(data-label); max-height: 80px; overflow: hidden; overflow-wrap: anywhere; color: var(--text-3); font-size: 12px; line-height: 20px; }
        td.empty { display: none; }
        tbody tr.gap { margin: 0; padding: 0; border: 0; }
      }
    `,
  ];

  override connectedCallback(): void {
    super.connectedCallback();
    for (const source of [state.placements, state.nodes]) this.whileConnected(() => source.hold());
  }

  readonly #window = new Windowed<PlacementRow>(this, (row) => row.target, () => this.renderRoot.querySelector('tbody'));

  /** Few elements: a fleet has a thousand of these, most of them empty. What is in one stands beside its label together. */
  #cell(row: PlacementRow, node: string): unknown {
    const cells = row.cells.filter((cell) => cell.node === node);
    const lost = this.#lost(node);
    if (!cells.length) return html`<td data-label=${node} class="empty"></td>`;
    return html`<td data-label=${node}><div>${cells.length > 1 ? html`<b>${cells.length} replicas</b>` : nothing}${cells.map((cell) => {
      const word = lost ? `${cell.state} when last heard` : cell.state;
      const gpus = cell.gpus.join(', ') || 'CPU';
      return html`<a href=${`/deployments/active?open=${encodeURIComponent(cell.deployment)}`} title=${`${cell.deployment}: ${word}, on ${gpus}`}>${shape(lost ? 'unknown' : kindOf(cell.state))}<span>${word.charAt(0).toUpperCase() + word.slice(1)}</span><small>${gpus}</small></a>`;
    })}</div></td>`;
  }

  #lost(node: string): boolean {
    return state.nodes.get(node)?.liveness === 'lost';
  }

  /** How many of a row count: not those of which nothing is known, and not those on their way out. */
  #placed(row: PlacementRow): number {
    return row.cells.filter((cell) => !this.#lost(cell.node) && !LEAVING.has(cell.state)).length;
  }

  /** A node's name, and what keeps it from taking more. */
  #heading(name: string): unknown {
    const node = state.nodes.get(name);
    const off = node && (node.liveness !== 'ready' ? node.liveness : node.status !== 'active' ? node.status : '');
    return html`<th scope="col"><div class="cell"><a href=${`/cluster/nodes?q=${encodeURIComponent(name)}`}>${name}</a>${off ? html`<mg-status state=${off}></mg-status>` : nothing}</div></th>`;
  }

  #row(row: PlacementRow, nodes: readonly string[], at: number): unknown {
    const placed = this.#placed(row);
    const some = `${placed} of ${row.replicas}`;
    return html`<tr data-key=${row.target} aria-rowindex=${this.#window.partial ? at + 2 : nothing}>
      <th scope="row"><div class="cell">${row.model}${row.target === row.model ? nothing : html` <small>${row.target}</small>`}</div></th>
      <td data-label="Placed" class=${placed < row.replicas ? 'short' : ''}>
        ${placed < row.replicas ? html`<a href=${`/deployments/active?state=pending&q=${encodeURIComponent(row.model)}`}>${some}</a>` : some}
      </td>
      ${nodes.map((node) => this.#cell(row, node))}
    </tr>`;
  }

  protected override render(): unknown {
    if (isWorker.value) return html`<h1 class="visually-hidden">Placements</h1><mg-elsewhere what="Where models run"></mg-elsewhere>`;
    const rows = state.placements.items.value;
    const nodes = [...new Set([...state.nodes.items.value.map((node) => node.name), ...rows.flatMap((row) => row.cells.map((cell) => cell.node))])].sort();
    const places = this.#window.places(rows);
    return html`<h1 class="visually-hidden">Placements</h1>
      <mg-state .source=${state.placements} rows="4">
        ${rows.length
          ? html`<div class="scroll" tabindex="0" role="region" aria-label="Placements by model and node">
              <table aria-rowcount=${this.#window.partial ? rows.length + 1 : nothing}>
                <thead><tr><th scope="col">Model</th><th scope="col">Placed</th>${nodes.map((node) => this.#heading(node))}</tr></thead>
                <tbody>
                  ${repeat(
                    places,
                    (place) => ('row' in place ? place.row.target : `gap after ${place.before}`),
                    (place) =>
                      'row' in place
                        ? this.#row(place.row, nodes, place.at)
                        : html`<tr class="gap" aria-hidden="true"><td colspan=${nodes.length + 2} ${height(place.gap)}></td></tr>`,
                  )}
                </tbody>
              </table>
            </div>`
          : html`<mg-empty heading="Nothing is placed" icon="cluster"><p>Deploy a model from <a href="/models/catalog">the catalog</a>.</p></mg-empty>`}
      </mg-state>`;
  }
}
