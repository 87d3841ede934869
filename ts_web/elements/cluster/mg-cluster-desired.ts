import { css, html, nothing } from 'lit';
import { customElement, state as internal } from 'lit/decorators.js';
import { isWorker, state, type TargetView } from '../../appstate.ts';
import { quoted, spokenItem } from '../../commands.ts';
import { api, body } from '../../data/client.ts';
import { asFailure } from '../../data/failure.ts';
import '../../kit/badge.ts';
import { confirm } from '../../kit/dialog.ts';
import { MgElement } from '../../kit/element.ts';
import { plural, UNKNOWN } from '../../kit/format.ts';
import { icon } from '../../kit/icons.ts';
import '../../kit/menu.ts';
import type { MenuItem } from '../../kit/menu.ts';
import { RowNotes } from '../../kit/row-notes.ts';
import '../../kit/stack.ts';
import '../../kit/states.ts';
import '../../kit/status.ts';
import '../../kit/table.ts';
import type { Column } from '../../kit/table.ts';
import '../../kit/time.ts';
import { toast } from '../../kit/toast.ts';

/** Cluster ▸ Desired: what is wanted of each model, and what the reconciler has still to do for it. */
@customElement('mg-cluster-desired')
export class MgClusterDesired extends MgElement {
  static override styles = [MgElement.styles, css`:host { display: block; }`];

  @internal() private scaling: TargetView | null = null;
  readonly #notes = new RowNotes();

  override connectedCallback(): void {
    super.connectedCallback();
    this.whileConnected(() => state.targets.hold());
  }

  async #clear(target: TargetView): Promise<void> {
    const sure = await confirm({
      heading: 'Clear this target?',
      text: `${plural(target.deployments.length, 'deployment')} of ${target.model} finish their requests and end. The gateway answers 404 for it then.`,
      verb: 'Clear',
      name: target.name,
    });
    if (!sure) return;
    try {
      await body(api.DELETE('/v1/_ui/targets/{model}', { params: { path: { model: target.name } } }));
      state.targets.reload();
      toast({ text: `${target.name} is no longer desired.`, kind: 'maintenance' });
    } catch (error) {
      this.#notes.refuse(target.name, asFailure(error).message);
    }
  }

  #actions(target: TargetView): readonly MenuItem[] {
    const fixed = target.origin === 'config' ? 'It comes from config.json: change it there.' : '';
    const path = `targets/${target.name}`;
    return [
      spokenItem({ label: 'Scale…', icon: 'columns', refusal: fixed, run: () => (this.scaling = target) },
        { cli: `modelgrid cluster scale ${quoted(target.name)} ${target.replicas}`, method: 'PATCH', path, body: { replicas: target.replicas } }),
      spokenItem({ label: 'Clear…', icon: 'close', danger: true, refusal: fixed, run: () => void this.#clear(target) },
        { cli: `modelgrid cluster clear ${quoted(target.name)}`, method: 'DELETE', path }),
    ]; // prettier-ignore
  }

  /** Why the first replica that is not placed waits. */
  #why(target: TargetView): string {
    return target.deployments.find((one) => one.state === 'pending' || one.state === 'failed')?.reason ?? '';
  }

  readonly #columns: readonly Column<TargetView>[] = [
    {
      id: 'name',
      label: 'Model',
      main: true,
      cell: (target) => html`<mg-stack><span>${target.name}</span>${target.name === target.model ? nothing : html`<small>${target.model}</small>`}${this.#notes.of(target.name)}</mg-stack>`,
      sort: (target) => target.name,
      text: (target) => `${target.name} ${target.model}`,
    },
    { id: 'replicas', label: 'Desired', numeric: true, cell: (target) => target.replicas, sort: (target) => target.replicas },
    { id: 'running', label: 'Running', numeric: true, cell: (target) => target.running, sort: (target) => target.running },
    {
      id: 'pending',
      label: 'Still to do',
      cell: (target) =>
        target.pending.length
          ? html`<mg-stack><span>${target.pending.map((text) => html`<mg-badge tone="busy">${text}</mg-badge> `)}</span>${this.#why(target) ? html`<small>${this.#why(target)}</small>` : nothing}</mg-stack>`
          : html`<mg-status kind="ok" word="as desired"></mg-status>`,
      sort: (target) => target.pending.join(' '),
    },
    {
      id: 'where',
      label: 'Where',
      nowrap: true,
      cell: (target) => [target.constraints.node, target.constraints.vendor, ...Object.entries(target.constraints.labels ?? {}).map((pair) => pair.join('=')), target.constraints.pack ? 'packed' : '', target.constraints.exclusive ? 'exclusive' : ''].filter(Boolean).join(', ') || UNKNOWN,
      sort: (target) => target.constraints.node ?? null,
    },
    { id: 'origin', label: 'Origin', cell: (target) => html`<mg-badge>${target.origin}</mg-badge>`, sort: (target) => target.origin },
    { id: 'changed', label: 'Changed', nowrap: true, cell: (target) => html`<mg-time .at=${target.updated_at}></mg-time>${target.updated_by ? html` <span class="muted">by ${target.updated_by}</span>` : nothing}`, sort: (target) => target.updated_at },
    { id: 'actions', label: '', actions: true, cell: (target) => html`<mg-menu label=${`Actions for ${target.name}`} .items=${this.#actions(target)}></mg-menu>` },
  ];

  protected override render(): unknown {
    const all = state.targets.items.value;
    if (this.scaling) void import('./mg-scale-dialog.ts');
    if (isWorker.value) void import('./mg-elsewhere.ts');
    if (isWorker.value) return html`<h1 class="visually-hidden">Desired state</h1><mg-elsewhere what="What is to run"></mg-elsewhere>`;
    return html`<h1 class="visually-hidden">Desired state</h1>
      <mg-state .source=${state.targets} rows="4">
        ${all.length
          ? html`<mg-table name="targets" label="targets" sort="name" .columns=${this.#columns} .rows=${all} .rowKey=${(target: TargetView) => target.name}>
              <a slot="filters" class="btn" href="/models/catalog">${icon('plus')} Ensure a model</a>
            </mg-table>`
          : html`<mg-empty heading="Nothing is desired" icon="cluster"><p>Choose a model in <a href="/models/catalog">the catalog</a>.</p></mg-empty>`}
      </mg-state>
      ${this.scaling ? html`<mg-scale-dialog .target=${this.scaling} @mg-close=${() => (this.scaling = null)}></mg-scale-dialog>` : nothing}`;
  }
}
