import { css, html, nothing, type PropertyValues } from 'lit';
import { customElement, state as internal } from 'lit/decorators.js';
import { state, type DeploymentView } from '../../appstate.ts';
import { copyItem } from '../../commands.ts';
import '../../kit/badge.ts';
import '../../kit/copy.ts';
import { MgElement } from '../../kit/element.ts';
import { natural } from '../../kit/natural.ts';
import { number, ratio, UNKNOWN } from '../../kit/format.ts';
import '../../kit/menu.ts';
import '../../kit/stack.ts';
import '../../kit/states.ts';
import '../../kit/status.ts';
import '../../kit/table.ts';
import type { Column } from '../../kit/table.ts';
import '../../kit/time.ts';
import { hrefWith, param, setParams } from '../../router.ts';
import { decidedElsewhere } from '../cluster/control-plane.ts';
import { actionsOf, actOnAll, notes, spokenForAll, type Verb } from './actions.ts';
import { progressOf } from './progress.ts';

const NEEDS_SOMEBODY: readonly string[] = ['failed', 'restarting', 'pending'];

/** Deployments ▸ Active: one row per deployment, and the drawer of the one that is open. */
@customElement('mg-deployments-active')
export class MgDeploymentsActive extends MgElement {
  static override styles = [
    MgElement.styles,
    css`
      .facets { display: flex; flex-wrap: wrap; gap: 4px; }
      .facets a { padding: 3px 9px; border: 1px solid var(--hairline); border-radius: 999px; color: var(--text-2); font-size: 12px; line-height: 18px; text-decoration: none; white-space: nowrap; }
      small.refusal { color: var(--text-2); font-size: 12px; }
      .facets a:hover { color: var(--text); background: var(--s2); }
      .facets a[aria-current] { border-color: var(--control); background: var(--s3); color: var(--text); font-weight: 600; }
    `,
  ];

  @internal() private selected: ReadonlySet<string> = new Set();

  override connectedCallback(): void {
    super.connectedCallback();
    this.whileConnected(() => state.deployments.hold());
  }

  protected override willUpdate(_: PropertyValues): void {
    // Not before somebody opens one: the list is there first.
    if (param('open')) void import('./mg-deployment-drawer.ts');
  }

  async #bulk(verb: Verb | 'remove'): Promise<void> {
    const problems = await actOnAll(state.deployments.items.value.filter((one) => this.selected.has(one.id)), verb);
    if (problems) this.selected = problems;
  }

  #buttons(): unknown {
    const refusal = decidedElsewhere.value;
    const button = (verb: Verb | 'remove', label: string, kind = ''): unknown =>
      html`<button type="button" slot="bulk" class="btn ${kind}" ?disabled=${refusal !== ''} title=${refusal || nothing} @click=${() => void this.#bulk(verb)}>${label}</button>`;
    const copies = (['start', 'stop', 'restart', 'remove'] as const).map((verb) => copyItem(`Copy the command: ${verb}`, spokenForAll(this.selected, verb)));
    return html`${button('start', 'Start')}${button('stop', 'Stop')}${button('restart', 'Restart')}${button('remove', 'Remove…', 'danger')}
      <mg-menu slot="bulk" icon="terminal" label="The same as a command" .items=${copies}></mg-menu>
      ${refusal ? html`<small slot="bulk" class="refusal">${refusal}</small>` : nothing}`;
  }

  readonly #columns: readonly Column<DeploymentView>[] = [
    {
      id: 'id',
      label: 'Deployment',
      main: true,
      cell: (one) => html`<mg-stack>
        <a href=${hrefWith({ open: one.id, tab: null, line: null })}>${one.id}</a>
        ${one.engine_id || one.simulated
          ? html`<span class="engine">${one.engine_id ? html`<mg-id .value=${one.engine_id} short="12" label="container id"></mg-id>` : nothing}${one.simulated ? html`<mg-badge>simulated</mg-badge>` : nothing}</span>`
          : nothing}
      </mg-stack>`,
      sort: (one) => one.id,
      text: (one) => `${one.id} ${one.engine_id ?? ''}`,
    },
    {
      id: 'state',
      label: 'State',
      cell: (one) => {
        const why = progressOf(one);
        return html`<mg-stack>
          <mg-status state=${one.state}></mg-status>
          ${why ? html`<small>${why}</small>` : nothing}
          ${notes.of(one.id)}
        </mg-stack>`;
      },
      sort: (one) => one.state,
      text: (one) => `${one.state} ${one.reason}`,
    },
    { id: 'model', label: 'Model', room: 1020, cell: (one) => one.model, sort: (one) => one.model },
    {
      id: 'where',
      label: 'GPUs',
      nowrap: true,
      cell: (one) => (one.node ? html`<mg-stack><span>${one.node}</span><small>${one.gpus.join(', ') || 'CPU'}</small></mg-stack>` : UNKNOWN),
      sort: (one) => (one.node ? `${one.node} ${one.gpus.join(' ')}` : null),
    },
    { id: 'origin', label: 'Origin', cell: (one) => html`<mg-badge>${one.origin}</mg-badge>`, sort: (one) => one.origin, optional: true },
    { id: 'runtime', label: 'Runtime', cell: (one) => one.runtime, sort: (one) => one.runtime, optional: true },
    { id: 'port', label: 'Port', numeric: true, room: 1080, cell: (one) => one.port ?? UNKNOWN, sort: (one) => one.port },
    { id: 'rate', label: 'Requests/s', numeric: true, nowrap: true, cell: (one) => number(one.requests_per_second), sort: (one) => one.requests_per_second },
    { id: 'errors', label: 'Errors', numeric: true, nowrap: true, cell: (one) => ratio(one.error_ratio), sort: (one) => one.error_ratio },
    {
      id: 'up',
      label: 'Uptime',
      numeric: true,
      nowrap: true,
      cell: (one) => (one.ready_at && one.state === 'running' ? html`<mg-time mode="for" .at=${one.ready_at}></mg-time>` : UNKNOWN),
      sort: (one) => (one.state === 'running' ? -(one.ready_at ?? 0) : null),
    },
    { id: 'actions', label: '', actions: true, cell: (one) => html`<mg-menu label=${`Actions for ${one.id}`} .items=${actionsOf(one)}></mg-menu>` },
  ];

  #facets(all: readonly DeploymentView[]): unknown {
    const chosen = param('state');
    const counts = new Map<string, number>();
    for (const one of all) counts.set(one.state, (counts.get(one.state) ?? 0) + 1);
    const states = [...counts.keys()].sort((a, b) => Number(NEEDS_SOMEBODY.includes(b)) - Number(NEEDS_SOMEBODY.includes(a)) || natural(a, b));
    if (chosen && !counts.has(chosen)) states.push(chosen);
    return html`<nav class="facets" slot="filters" aria-label="By state">
      <a href=${hrefWith({ state: null, page: null })} aria-current=${chosen ? nothing : 'true'}>all ${all.length}</a>
      ${states.map((name) => html`<a href=${hrefWith({ state: name, page: null })} aria-current=${chosen === name ? 'true' : nothing}>${name} ${counts.get(name) ?? 0}</a>`)}
    </nav>`;
  }

  protected override render(): unknown {
    const all = state.deployments.items.value;
    const chosen = param('state');
    const rows = chosen ? all.filter((one) => one.state === chosen) : all;
    const open = param('open');
    return html`<h1 class="visually-hidden">Active deployments</h1>
      <mg-state .source=${state.deployments} rows="5">
        ${all.length
          ? html`<mg-table name="deployments" label="deployments" sort="id" cards-below="880" .columns=${this.#columns} .rows=${rows} .current=${open} selectable .selection=${this.selected}
              @mg-select=${(event: CustomEvent<ReadonlySet<string>>) => (this.selected = event.detail)}
              .rowKey=${(one: DeploymentView) => one.id}>${this.#facets(all)}${this.#buttons()}</mg-table>`
          : html`<mg-empty heading="Nothing is deployed" icon="deployments">
              <p>A model that is deployed runs here, whatever brought it: the command line, the API or config.json.</p>
              <mg-command text="modelgrid run qwen3-4b"></mg-command>
            </mg-empty>`}
      </mg-state>
      ${open ? html`<mg-deployment-drawer .deployment=${open} @mg-close=${() => setParams({ open: null, tab: null, find: null, expression: null, line: null })}></mg-deployment-drawer>` : nothing}`;
  }
}
