import { css, html, nothing } from 'lit';
import { customElement } from 'lit/decorators.js';
import { isWorker, state, type PlacementRow } from '../../appstate.ts';
import { MgElement } from '../../kit/element.ts';
import '../../kit/states.ts';
import '../../kit/status.ts';
import './mg-elsewhere.ts';

const LEAVING: ReadonlySet<string> = new Set(['draining', 'stopping', 'stopped']);

/** Cluster ▸ Placements: model by node, how many replicas and how they are. */
@customElement('mg-cluster-placements')
export class MgClusterPlacements extends MgElement {
  static override styles = [
    MgElement.styles,
    css`
      :host { display: block; }
      .scroll { position: relative; overflow-x: auto; border: 1px solid var(--hairline); border-radius: 8px; background: var(--s1); }
      table { width: 100%; border-collapse: collapse; }
      th, td { padding: 8px 12px; border-top: 1px solid var(--hairline); text-align: left; vertical-align: top; }
      thead th { border-top: 0; color: var(--text-2); font-size: 12px; font-weight: 500; white-space: nowrap; }
      tbody th { font-weight: 400; overflow-wrap: anywhere; min-width: 180px; }
      :is(th, td) > .cell { max-width: 44ch; max-height: 168px; margin: -3px; padding: 3px; overflow: auto; }
      thead mg-status { margin-left: 10px; }
      ul { display: grid; gap: 4px; }
      li { display: flex; flex-wrap: wrap; align-items: baseline; gap: 2px 8px; }
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
      }
    `,
  ];

  override connectedCallback(): void {
    super.connectedCallback();
    for (const source of [state.placements, state.nodes]) this.whileConnected(() => source.hold());
  }

  #cell(row: PlacementRow, node: string): unknown {
    const cells = row.cells.filter((cell) => cell.node === node);
    if (cells.length === 0) return html`<span class="faint" aria-label="none">·</span>`;
    return html`<ul>
      ${cells.length > 1 ? html`<li><b>${cells.length} replicas</b></li>` : nothing}
      ${cells.map(
        (cell) => html`<li>
          <a href=${`/deployments/active?open=${encodeURIComponent(cell.deployment)}`} title=${cell.deployment}>${this.#lost(node) ? html`<mg-status kind="unknown" word=${`${cell.state} when last heard`}></mg-status>` : html`<mg-status state=${cell.state}></mg-status>`}</a>
          <small>${cell.gpus.join(', ') || 'CPU'}</small>
        </li>`,
      )}
    </ul>`;
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

  protected override render(): unknown {
    const rows = state.placements.items.value;
    const nodes = [...new Set([...state.nodes.items.value.map((node) => node.name), ...rows.flatMap((row) => row.cells.map((cell) => cell.node))])].sort();
    if (isWorker.value) return html`<h1 class="visually-hidden">Placements</h1><mg-elsewhere what="Where models run"></mg-elsewhere>`;
    return html`<h1 class="visually-hidden">Placements</h1>
      <mg-state .source=${state.placements} rows="4">
        ${rows.length
          ? html`<div class="scroll" tabindex="0" role="region" aria-label="Placements by model and node">
              <table>
                <thead><tr><th scope="col">Model</th><th scope="col">Placed</th>${nodes.map((node) => this.#heading(node))}</tr></thead>
                <tbody>
                  ${rows.map(
                    (row) => html`<tr>
                      <th scope="row"><div class="cell">${row.model}${row.target === row.model ? nothing : html` <small>${row.target}</small>`}</div></th>
                      <td data-label="Placed" class=${this.#placed(row) < row.replicas ? 'short' : ''}>
                        ${this.#placed(row) < row.replicas
                          ? html`<a href=${`/deployments/active?state=pending&q=${encodeURIComponent(row.model)}`}>${this.#placed(row)} of ${row.replicas}</a>`
                          : html`${this.#placed(row)} of ${row.replicas}`}
                      </td>
                      ${nodes.map((node) => html`<td data-label=${node} class=${row.cells.some((cell) => cell.node === node) ? '' : 'empty'}><div class="cell">${this.#cell(row, node)}</div></td>`)}
                    </tr>`,
                  )}
                </tbody>
              </table>
            </div>`
          : html`<mg-empty heading="Nothing is placed" icon="cluster"><p>Deploy a model from <a href="/models/catalog">the catalog</a>.</p></mg-empty>`}
      </mg-state>`;
  }
}
