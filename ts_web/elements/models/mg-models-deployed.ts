import { css, html } from 'lit';
import { customElement } from 'lit/decorators.js';
import { state } from '../../appstate.ts';
import { api, call, type Schemas } from '../../data/client.ts';
import { LiveCollection } from '../../data/live.ts';
import '../../kit/copy.ts';
import { MgElement } from '../../kit/element.ts';
import { UNKNOWN } from '../../kit/format.ts';
import '../../kit/states.ts';
import '../../kit/status.ts';
import '../../kit/table.ts';
import type { Column } from '../../kit/table.ts';

type DeployedModel = Schemas['DeployedModel'];

/** Follows the targets: whenever one of them changes, so may what answers. */
class Deployed extends LiveCollection<DeployedModel> {
  constructor() {
    super('targets', (model) => model.id, () => call(api.GET('/v1/_ui/models')));
  }

  protected override apply(): void {
    this.reload();
  }
}

/** Models ▸ Deployed: what can be asked for on this endpoint. */
@customElement('mg-models-deployed')
export class MgModelsDeployed extends MgElement {
  static override styles = [MgElement.styles, css`:host { display: block; } .top { margin-bottom: 12px; }`];

  readonly #models = new Deployed();

  override connectedCallback(): void {
    super.connectedCallback();
    this.whileConnected(() => this.#models.hold());
    this.whileConnected(() => state.overview.hold());
  }

  readonly #columns: readonly Column<DeployedModel>[] = [
    { id: 'model', label: 'Model', main: true, cell: (model) => html`<mg-id .value=${model.id}></mg-id>`, sort: (model) => model.id },
    { id: 'aliases', label: 'Also called', cell: (model) => model.aliases.join(', ') || UNKNOWN, sort: (model) => model.aliases.join(' ') },
    { id: 'state', label: 'State', nowrap: true, cell: (model) => html`<mg-status state=${model.state}></mg-status>`, sort: (model) => model.state },
    { id: 'replicas', label: 'Replicas', numeric: true, nowrap: true, cell: (model) => `${model.running} of ${model.replicas}`, sort: (model) => model.running },
    { id: 'nodes', label: 'Nodes', cell: (model) => model.nodes.join(', ') || UNKNOWN, sort: (model) => model.nodes.join(' ') },
    { id: 'go', label: '', actions: true, cell: (model) => html`<a href=${`/deployments/active?q=${encodeURIComponent(model.id)}`}>Deployments</a>` },
  ];

  protected override render(): unknown {
    const all = this.#models.items.value;
    const url = state.overview.value?.api_url ?? '';
    return html`<h1 class="visually-hidden">Deployed models</h1>
      <mg-state .source=${this.#models} rows="4">
        ${all.length
          ? html`<p class="top muted">These answer at <mg-id .value=${url}></mg-id>, to requests with an <a href="/access/apikeys">API key</a> that may use them.</p>
              <mg-table name="deployed" label="models" sort="model" .columns=${this.#columns} .rows=${all} .rowKey=${(model: DeployedModel) => model.id}></mg-table>`
          : html`<mg-empty heading="No model is deployed" icon="models"><p>Choose one in <a href="/models/catalog">the catalog</a>.</p></mg-empty>`}
      </mg-state>`;
  }
}
