import { css, html, nothing } from 'lit';
import { customElement } from 'lit/decorators.js';
import { state, type NodeView } from '../../appstate.ts';
import { quoted, spokenItem, type Spoken } from '../../commands.ts';
import { api, body } from '../../data/client.ts';
import { asFailure } from '../../data/failure.ts';
import '../../kit/badge.ts';
import '../../kit/copy.ts';
import { confirm } from '../../kit/dialog.ts';
import { MgElement } from '../../kit/element.ts';
import { bytes, count, plural, UNKNOWN } from '../../kit/format.ts';
import { icon, type IconName } from '../../kit/icons.ts';
import '../../kit/menu.ts';
import type { MenuItem } from '../../kit/menu.ts';
import { RowNotes } from '../../kit/row-notes.ts';
import '../../kit/stack.ts';
import '../../kit/states.ts';
import '../../kit/status.ts';
import '../../kit/table.ts';
import type { Column } from '../../kit/table.ts';
import '../../kit/time.ts';
import { param, setParams } from '../../router.ts';
import { decidedElsewhere } from './control-plane.ts';
import { removeNode } from './remove-node.ts';

/** The badge of the node says that its GPUs are simulated; their names need not. */
const modelName = (name = ''): string => name.replace(' (simulated)', '');

/** `zone=a`, in the order of their names. */
function labelsOf(node: NodeView): readonly string[] {
  return Object.entries(node.labels)
    .map((pair) => pair.join('='))
    .sort();
}

type Verb = 'cordon' | 'drain' | 'activate';
const DONE: Record<Verb, string> = { cordon: 'Cordoned: it takes nothing new.', drain: 'It is being drained.', activate: 'Active: it takes deployments again.' };

/** `cordon` as a command, and as a call. */
function spoken(node: NodeView, verb: Verb | 'remove'): Spoken {
  const cli = `modelgrid cluster ${verb} ${quoted(node.name)}`;
  const path = `nodes/${encodeURIComponent(node.name)}`;
  return verb === 'remove' ? { cli, method: 'DELETE', path } : { cli, method: 'POST', path: `${path}/${verb}` };
}

/** Cluster ▸ Nodes: the machines, what they carry, and whether they take more. */
@customElement('mg-cluster-nodes')
export class MgClusterNodes extends MgElement {
  static override styles = [MgElement.styles, css`:host { display: block; }`];

  readonly #notes = new RowNotes();

  override connectedCallback(): void {
    super.connectedCallback();
    for (const source of [state.nodes, state.deployments, state.cluster]) this.whileConnected(() => source.hold());
  }

  #placedOn(node: NodeView): number {
    return state.deployments.items.value.filter((one) => one.node === node.name).length;
  }

  /** How far the draining of a node is. */
  #drain(node: NodeView): string {
    const left = this.#placedOn(node);
    const all = node.deployments_when_drained ?? 0;
    const open = node.connections ? `, ${plural(node.connections, 'connection')} open` : '';
    if (!left) return `Empty: nothing is placed there any more${open}`;
    return `${all >= left ? `${count(all - left)} of ${plural(all, 'deployment')} moved` : `${plural(left, 'deployment')} still to move`}${open}`;
  }

  async #act(node: NodeView, verb: Verb): Promise<void> {
    const own = this.#placedOn(node);
    if (verb === 'drain' && own > 0) {
      const sure = await confirm({
        heading: 'Drain this node?',
        text: `${plural(own, 'deployment')} of ${node.name} move to other nodes, one by one, or wait where there is no room for them. Running requests finish first.`,
        verb: 'Drain',
        name: node.name,
      });
      if (!sure) return;
    }
    try {
      state.nodes.put(await body(api.POST('/v1/_ui/nodes/{name}/{action}', { params: { path: { name: node.name, action: verb } } })));
      this.#notes.done(node.name, DONE[verb], verb === 'activate' ? undefined : () => void this.#act(node, 'activate'));
    } catch (error) {
      this.#notes.refuse(node.name, asFailure(error).message);
    }
  }

  async #remove(node: NodeView): Promise<void> {
    const refusal = await removeNode(node, this.#placedOn(node));
    if (refusal) this.#notes.refuse(node.name, refusal);
  }

  #actions(node: NodeView): readonly MenuItem[] {
    const elsewhere = decidedElsewhere.value;
    const own = node.name === state.cluster.value?.node ? 'This is the control plane itself.' : '';
    const already = (status: NodeView['status'], words: string): string => elsewhere || (node.status === status ? words : '');
    const item = (verb: Verb, label: string, icon: IconName, refusal: string): MenuItem =>
      spokenItem({ label, icon, refusal, run: () => void this.#act(node, verb) }, spoken(node, verb));
    return [
      { label: 'Logs', icon: 'logs', href: own ? '/logs' : `/logs?node=${encodeURIComponent(node.name)}` },
      item('cordon', 'Cordon', 'pause', already('cordoned', 'It is cordoned already.')),
      item('drain', 'Drain…', 'logout', already('draining', 'It is being drained already.')),
      item('activate', 'Activate', 'play', already('active', 'It is active already.')),
      ...(state.cluster.value?.role === 'standalone' ? [] : [spokenItem({ label: 'Remove…', icon: 'close', danger: true, refusal: elsewhere || own, run: () => void this.#remove(node) }, spoken(node, 'remove'))]),
    ];
  }

  readonly #columns: readonly Column<NodeView>[] = [
    {
      id: 'name',
      label: 'Name',
      main: true,
      cell: (node) => html`<mg-stack>
        <span>${node.name}</span>
        <span><mg-badge>${node.role}</mg-badge> ${node.simulated ? html`<mg-badge tone="maintenance">simulated</mg-badge> ` : nothing}${labelsOf(node).map((label) => html`<mg-badge>${label}</mg-badge> `)}</span>
        ${node.problem ? html`<small class="problem">${node.problem}</small>` : nothing}
        ${node.status === 'draining' ? html`<small>${this.#drain(node)}</small>` : nothing}
        ${this.#notes.of(node.name)}
      </mg-stack>`,
      sort: (node) => node.name,
      text: (node) => `${node.name} ${node.role} ${labelsOf(node).join(' ')}`,
    },
    { id: 'status', label: 'Status', nowrap: true, cell: (node) => html`<mg-status state=${node.status}></mg-status>`, sort: (node) => node.status },
    { id: 'liveness', label: 'Liveness', nowrap: true, cell: (node) => html`<mg-status state=${node.liveness}></mg-status>`, sort: (node) => node.liveness },
    { id: 'heartbeat', label: 'Heartbeat', nowrap: true, cell: (node) => html`<mg-time .at=${node.heartbeat_at}></mg-time>`, sort: (node) => -node.heartbeat_at },
    {
      id: 'version',
      label: 'Version',
      cell: (node) => html`<mg-stack><span>${node.version || UNKNOWN}</span>${node.note ? html`<span><mg-badge tone="warning">differs</mg-badge></span><small>${node.note}</small>` : nothing}</mg-stack>`,
      sort: (node) => node.version,
    },
    { id: 'url', label: 'Advertised URL', cell: (node) => html`<mg-id .value=${node.advertise_url}></mg-id>`, sort: (node) => node.advertise_url },
    {
      id: 'gpus',
      label: 'GPUs',
      nowrap: true,
      cell: (node) =>
        node.gpus
          ? html`<mg-stack>
              ${node.gpu_models.length === 1 ? html`<span>${node.gpus} × ${modelName(node.gpu_models[0])}</span>` : html`<span>${plural(node.gpus, 'GPU')}</span>${node.gpu_models.map((model) => html`<small>${modelName(model)}</small>`)}`}
              <small>${bytes(node.vram_free_bytes)} of ${bytes(node.vram_total_bytes)} free</small>
            </mg-stack>`
          : html`<span class="muted">none</span>`,
      sort: (node) => node.gpus,
      text: (node) => node.gpu_models.join(' '),
    },
    { id: 'memory', label: 'Host memory free', numeric: true, nowrap: true, cell: (node) => bytes(node.memory_available_bytes), sort: (node) => node.memory_available_bytes, optional: true },
    { id: 'runtimes', label: 'Runtimes', cell: (node) => node.runtimes.join(', ') || UNKNOWN, sort: (node) => node.runtimes.join(' '), optional: true },
    { id: 'connections', label: 'Connections', numeric: true, cell: (node) => node.connections, sort: (node) => node.connections, optional: true },
    { id: 'deployments', label: 'Deployments', numeric: true, cell: (node) => this.#placedOn(node), sort: (node) => this.#placedOn(node) },
    { id: 'actions', label: '', actions: true, cell: (node) => html`<mg-menu label=${`Actions for ${node.name}`} .items=${this.#actions(node)}></mg-menu>` },
  ];

  protected override render(): unknown {
    if (param('add')) void import('./mg-add-node.ts');
    return html`<h1 class="visually-hidden">Nodes</h1>
      <mg-state .source=${state.nodes} rows="3">
        <mg-table name="nodes" label="nodes" sort="name" .columns=${this.#columns} .rows=${state.nodes.items.value} .rowKey=${(node: NodeView) => node.name}>
          <button slot="filters" type="button" class="btn" @click=${() => setParams({ add: 'node' })}>${icon('plus')} Add node</button>
        </mg-table>
      </mg-state>
      ${param('add') ? html`<mg-add-node @mg-close=${() => setParams({ add: null }, { replace: true })}></mg-add-node>` : nothing}`;
  }
}
