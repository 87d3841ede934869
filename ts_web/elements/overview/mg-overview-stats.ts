import { css, html, nothing } from 'lit';
import { customElement, state as internal } from 'lit/decorators.js';
import { state, type DeploymentView, type GpuView } from '../../appstate.ts';
import { reasons } from '../../fleet.ts';
import '../../kit/card.ts';
import '../../kit/copy.ts';
import { MgElement } from '../../kit/element.ts';
import { count, plural, UNKNOWN } from '../../kit/format.ts';
import '../../kit/states.ts';
import '../../kit/status.ts';
import '../../kit/table.ts';
import type { Column } from '../../kit/table.ts';
import '../../kit/time.ts';
import { resolve } from '../../views.ts';
import './mg-attention.ts';
import './mg-gpu-map.ts';
import './mg-latest-events.ts';
import './mg-verdict.ts';
import './mg-vitals.ts';

/** The landing page shows so many deployments, worst first; the rest are a click away. */
const MOST = 24;
const WORST: readonly string[] = ['failed', 'restarting', 'pending'];

function worstFirst(all: readonly DeploymentView[]): readonly DeploymentView[] {
  const rank = (one: DeploymentView): number => WORST.indexOf(one.state) + 1 || WORST.length + 1;
  return [...all].sort((a, b) => rank(a) - rank(b));
}

/** Overview ▸ Stats: is the fleet healthy right now, and if not, what needs somebody. */
@customElement('mg-overview-stats')
export class MgOverviewStats extends MgElement {
  static override styles = [
    MgElement.styles,
    css`
      :host { display: grid; grid-template-columns: minmax(0, 1fr); gap: 16px; }
      .two { display: grid; grid-template-columns: minmax(0, 3fr) minmax(0, 2fr); gap: 16px; align-items: start; }
      .drift { display: flex; flex-wrap: wrap; align-items: center; gap: 6px 12px; padding: 8px 16px; border: 1px solid var(--hairline); border-radius: 8px; background: var(--accent-tint); }
      @media (max-width: 1100px) { .two { grid-template-columns: minmax(0, 1fr); } }
    `,
  ];

  /** What is further down is made in a task of its own, so that none is long. */
  @internal() private whole = false;

  override connectedCallback(): void {
    super.connectedCallback();
    for (const source of [state.overview, state.nodes, state.gpus, state.deployments]) this.whileConnected(() => source.hold());
  }

  readonly #columns: readonly Column<DeploymentView>[] = [
    {
      id: 'name',
      label: 'Deployment',
      main: true,
      cell: (one) =>
        resolve('/deployments/active')?.path === '/deployments/active'
          ? html`<a href=${`/deployments/active?open=${encodeURIComponent(one.id)}`}>${one.id}</a>`
          : one.id,
    },
    { id: 'state', label: 'State', nowrap: true, cell: (one) => html`<mg-status state=${one.state}></mg-status>` },
    {
      id: 'where',
      label: 'Where',
      cell: (one) => (one.node ? `${one.node}${one.gpus.length ? ` · ${one.gpus.join(', ')}` : ''}` : html`<span class="muted">${one.reason}</span>`),
    },
    { id: 'up', label: 'Up', numeric: true, cell: (one) => (one.ready_at ? html`<mg-time mode="for" .at=${one.ready_at}></mg-time>` : UNKNOWN) },
  ];

  #deployments(): unknown {
    const all = worstFirst(state.deployments.items.value);
    const shown = all.length > MOST ? all.slice(0, MOST) : all;
    return html`<mg-card heading="Deployments" note=${shown.length < all.length ? `${count(shown.length)} of ${count(all.length)}, worst first` : all.length ? count(all.length) : ''}>
      ${shown.length < all.length ? html`<a slot="actions" href="/deployments/active">All deployments</a>` : nothing}
      <mg-state .source=${state.deployments}>
        ${all.length
          ? html`<mg-table bare label="deployments" .columns=${this.#columns} .rows=${shown} .rowKey=${(one: DeploymentView) => one.id}></mg-table>`
          : html`<mg-empty heading="Nothing is deployed" icon="deployments">
              <p>Deploy a model from the catalog, or with</p>
              <mg-command text="modelgrid run qwen3-4b"></mg-command>
            </mg-empty>`}
      </mg-state>
    </mg-card>`;
  }

  #drift(): unknown {
    const drift = state.overview.value?.catalog_drift;
    const news = [
      [drift?.added?.length ?? 0, 'new'],
      [drift?.changed?.length ?? 0, 'changed'],
      [drift?.removed?.length ?? 0, 'removed'],
    ].filter(([many]) => many) as [number, string][];
    if (news.length === 0) return nothing;
    return html`<div class="drift" role="status">
      The catalog's source has moved on: ${news.map(([many, what]) => `${plural(many, 'model')} ${what}`).join(', ')}.
      ${resolve('/models/catalog')?.path === '/models/catalog' ? html`<a href="/models/catalog">Open the catalog</a>` : nothing}
    </div>`;
  }

  protected override render(): unknown {
    const gpus = state.gpus.items.value;
    // All at once, or what comes late would push away what is being read.
    const ready = [state.overview, state.nodes, state.gpus, state.deployments].every((source) => source.loaded || source.problem);
    if (!ready) return html`<mg-verdict></mg-verdict>`;
    if (!this.whole) setTimeout(() => (this.whole = true));
    return html`<mg-verdict></mg-verdict>
      ${reasons.value.length ? html`<mg-attention></mg-attention>` : nothing}
      <mg-vitals></mg-vitals>
      ${this.#drift()}
      ${this.whole ? html`${this.#map(gpus)}<div class="two">${this.#deployments()}<mg-latest-events></mg-latest-events></div>` : nothing}`;
  }

  #map(gpus: readonly GpuView[]): unknown {
    return html`<mg-card heading="GPUs" note="line: utilisation · bar and colour: memory in use">
        <mg-state .source=${state.gpus} rows="2">
          ${gpus.length
            ? html`<mg-gpu-map></mg-gpu-map>`
            : html`<mg-empty heading="No GPU was found" icon="gpus"><p><a href="/gpus/drivers">The drivers page</a> says what is installed.</p></mg-empty>`}
        </mg-state>
      </mg-card>`;
  }
}
