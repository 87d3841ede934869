import { css, html, nothing } from 'lit';
import { customElement, state as internal } from 'lit/decorators.js';
import { state, type NodeView } from '../../appstate.ts';
import { copyItems, quoted } from '../../commands.ts';
import { api, body } from '../../data/client.ts';
import { asFailure } from '../../data/failure.ts';
import '../../kit/badge.ts';
import '../../kit/copy.ts';
import { confirm } from '../../kit/dialog.ts';
import { MgElement } from '../../kit/element.ts';
import { bytes, plural, UNKNOWN } from '../../kit/format.ts';
import { icon } from '../../kit/icons.ts';
import '../../kit/menu.ts';
import type { MenuItem } from '../../kit/menu.ts';
import '../../kit/stack.ts';
import '../../kit/states.ts';
import '../../kit/status.ts';
import '../../kit/table.ts';
import type { Column } from '../../kit/table.ts';
import '../../kit/time.ts';
import { toast } from '../../kit/toast.ts';
import { param, setParams } from '../../router.ts';
import './mg-add-node.ts';

type Verb = 'cordon' | 'drain' | 'activate';
const DONE: Record<Verb, string> = { cordon: 'takes nothing new', drain: 'is being drained', activate: 'takes deployments again' };

/** Cluster ▸ Nodes: the machines, what they carry, and whether they take more. */
@customElement('mg-cluster-nodes')
export class MgClusterNodes extends MgElement {
  static override styles = [MgElement.styles, css`:host { display: block; }`];

  /** What the daemon refused, by node. */
  @internal() private refused: ReadonlyMap<string, string> = new Map();

  override connectedCallback(): void {
    super.connectedCallback();
    for (const source of [state.nodes, state.deployments]) this.whileConnected(() => source.hold());
  }

  async #act(node: NodeView, verb: Verb): Promise<void> {
    const own = state.deployments.items.value.filter((one) => one.node === node.name).length;
    if (verb === 'drain' && own > 0) {
      const sure = await confirm({
        heading: 'Drain this node?',
        text: `${plural(own, 'deployment')} of ${node.name} move to other nodes, one by one, or wait where there is no room for them. Running requests finish first.`,
        verb: 'Drain',
        name: node.name,
      });
      if (!sure) return;
    }
    const refused = new Map(this.refused);
    try {
      state.nodes.put(await body(api.POST('/v1/_ui/nodes/{name}/{action}', { params: { path: { name: node.name, action: verb } } })));
      refused.delete(node.name);
      const undo = verb === 'activate' ? {} : { undo: () => void this.#act(node, 'activate') };
      toast({ text: `${node.name} ${DONE[verb]}.`, kind: verb === 'activate' ? 'ok' : 'maintenance', ...undo });
    } catch (error) {
      refused.set(node.name, asFailure(error).message);
    }
    this.refused = refused;
  }

  #actions(node: NodeView): readonly MenuItem[] {
    const now = { active: '', cordoned: 'It is cordoned already.', draining: 'It is being drained already.' }[node.status];
    const verb: Verb = node.status === 'active' ? 'cordon' : 'activate';
    return [
      { label: 'Cordon', icon: 'pause', refusal: node.status === 'cordoned' ? now : '', run: () => void this.#act(node, 'cordon') },
      { label: 'Drain…', icon: 'logout', refusal: node.status === 'draining' ? now : '', run: () => void this.#act(node, 'drain') },
      { label: 'Activate', icon: 'play', refusal: node.status === 'active' ? 'It is active already.' : '', run: () => void this.#act(node, 'activate') },
      ...copyItems({ cli: `modelgrid cluster ${verb} ${quoted(node.name)}`, method: 'POST', path: `nodes/${encodeURIComponent(node.name)}/${verb}` }),
    ];
  }

  readonly #columns: readonly Column<NodeView>[] = [
    {
      id: 'name',
      label: 'Name',
      main: true,
      cell: (node) => html`<mg-stack><span>${node.name}</span>${node.problem ? html`<small>${node.problem}</small>` : nothing}${this.refused.has(node.name) ? html`<small role="alert">${this.refused.get(node.name)}</small>` : nothing}</mg-stack>`,
      sort: (node) => node.name,
    },
    { id: 'role', label: 'Role', cell: (node) => html`<mg-badge>${node.role}</mg-badge>`, sort: (node) => node.role },
    { id: 'status', label: 'Status', nowrap: true, cell: (node) => html`<mg-status state=${node.status}></mg-status>`, sort: (node) => node.status },
    { id: 'liveness', label: 'Liveness', nowrap: true, cell: (node) => html`<mg-status state=${node.liveness}></mg-status>`, sort: (node) => node.liveness },
    { id: 'heartbeat', label: 'Heartbeat', nowrap: true, cell: (node) => html`<mg-time .at=${node.heartbeat_at}></mg-time>`, sort: (node) => -node.heartbeat_at },
    { id: 'url', label: 'Advertised URL', cell: (node) => html`<mg-id .value=${node.advertise_url}></mg-id>`, sort: (node) => node.advertise_url },
    {
      id: 'gpus',
      label: 'GPUs',
      cell: (node) =>
        node.gpus
          ? html`<mg-stack><span>${node.gpus} × ${node.gpu_models.join(', ')}</span><small>${bytes(node.vram_free_bytes)} of ${bytes(node.vram_total_bytes)} free</small></mg-stack>`
          : html`<span class="muted">none</span>`,
      sort: (node) => node.gpus,
      text: (node) => node.gpu_models.join(' '),
    },
    { id: 'memory', label: 'Host memory free', numeric: true, nowrap: true, cell: (node) => bytes(node.memory_available_bytes), sort: (node) => node.memory_available_bytes, optional: true },
    { id: 'runtimes', label: 'Runtimes', cell: (node) => node.runtimes.join(', ') || UNKNOWN, sort: (node) => node.runtimes.join(' '), optional: true },
    { id: 'deployments', label: 'Deployments', numeric: true, cell: (node) => state.deployments.items.value.filter((one) => one.node === node.name).length },
    { id: 'actions', label: '', actions: true, cell: (node) => html`<mg-menu label=${`Actions for ${node.name}`} .items=${this.#actions(node)}></mg-menu>` },
  ];

  protected override render(): unknown {
    return html`<h1 class="visually-hidden">Nodes</h1>
      <mg-state .source=${state.nodes} rows="3">
        <mg-table name="nodes" label="nodes" sort="name" .columns=${this.#columns} .rows=${state.nodes.items.value} .rowKey=${(node: NodeView) => node.name}>
          <button slot="filters" type="button" class="btn" @click=${() => setParams({ add: 'node' })}>${icon('plus')} Add node</button>
        </mg-table>
      </mg-state>
      ${param('add') ? html`<mg-add-node @mg-close=${() => setParams({ add: null }, { replace: true })}></mg-add-node>` : nothing}`;
  }
}
