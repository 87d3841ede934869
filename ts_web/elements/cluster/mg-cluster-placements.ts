import { css, html, nothing } from 'lit';
import { customElement } from 'lit/decorators.js';
import { state, type PlacementRow } from '../../appstate.ts';
import { MgElement } from '../../kit/element.ts';
import '../../kit/states.ts';
import '../../kit/status.ts';

/** Cluster ▸ Placements: model by node, how many replicas and how they are. */
@customElement('mg-cluster-placements')
export class MgClusterPlacements extends MgElement {
  static override styles = [
    MgElement.styles,
    css`
      :host { display: block; }
      .scroll { overflow-x: auto; border: 1px solid var(--hairline); border-radius: 8px; background: var(--s1); }
      table { width: 100%; border-collapse: collapse; }
      th, td { padding: 8px 12px; border-top: 1px solid var(--hairline); text-align: left; vertical-align: top; }
      thead th { border-top: 0; color: var(--text-2); font-size: 12px; font-weight: 500; white-space: nowrap; }
      tbody th { font-weight: 400; overflow-wrap: anywhere; min-width: 180px; }
      ul { display: grid; gap: 4px; }
      li { display: flex; flex-wrap: wrap; align-items: baseline; gap: 2px 8px; }
      small { color: var(--text-2); font-size: 12px; }
      .short { color: var(--warning); }
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
      ${cells.map(
        (cell) => html`<li>
          <a href=${`/deployments/active?open=${encodeURIComponent(cell.deployment)}`} title=${cell.deployment}><mg-status state=${cell.state}></mg-status></a>
          <small>${cell.gpus.join(', ') || 'CPU'}</small>
        </li>`,
      )}
    </ul>`;
  }

  protected override render(): unknown {
    const rows = state.placements.items.value;
    const nodes = [...new Set([...state.nodes.items.value.map((node) => node.name), ...rows.flatMap((row) => row.cells.map((cell) => cell.node))])].sort();
    return html`<h1 class="visually-hidden">Placements</h1>
      <mg-state .source=${state.placements} rows="4">
        ${rows.length
          ? html`<div class="scroll" tabindex="0" role="region" aria-label="Placements by model and node">
              <table>
                <thead><tr><th scope="col">Model</th><th scope="col">Placed</th>${nodes.map((node) => html`<th scope="col">${node}</th>`)}</tr></thead>
                <tbody>
                  ${rows.map(
                    (row) => html`<tr>
                      <th scope="row">${row.model}${row.target === row.model ? nothing : html` <small>${row.target}</small>`}</th>
                      <td class=${row.cells.length < row.replicas ? 'short' : ''}>
                        ${row.cells.length < row.replicas
                          ? html`<a href=${`/deployments/active?state=pending&q=${encodeURIComponent(row.model)}`}>${row.cells.length} of ${row.replicas}</a>`
                          : html`${row.cells.length} of ${row.replicas}`}
                      </td>
                      ${nodes.map((node) => html`<td>${this.#cell(row, node)}</td>`)}
                    </tr>`,
                  )}
                </tbody>
              </table>
            </div>`
          : html`<mg-empty heading="Nothing is placed" icon="cluster"><p>Deploy a model from <a href="/models/catalog">the catalog</a>.</p></mg-empty>`}
      </mg-state>`;
  }
}
