import { css, html, nothing } from 'lit';
import { customElement, state as internal } from 'lit/decorators.js';
import { state } from '../../appstate.ts';
import { copiedAs, type Spoken } from '../../commands.ts';
import { api, body } from '../../data/client.ts';
import { asFailure } from '../../data/failure.ts';
import '../../kit/badge.ts';
import '../../kit/copy.ts';
import { MgElement } from '../../kit/element.ts';
import { bytes, count, number, plural } from '../../kit/format.ts';
import { icon } from '../../kit/icons.ts';
import '../../kit/menu.ts';
import '../../kit/stack.ts';
import '../../kit/states.ts';
import '../../kit/status.ts';
import '../../kit/table.ts';
import type { Column } from '../../kit/table.ts';
import { toast } from '../../kit/toast.ts';
import { param, setParams } from '../../router.ts';
import { decidedElsewhere } from '../cluster/control-plane.ts';
import { fitOf, type CatalogView } from './fit.ts';

const REFRESH: Spoken = { cli: 'modelgrid model refresh', method: 'POST', path: 'catalog/refresh' };
const GIB = 1024 ** 3;
const SIZES = ['8', '16', '24', '48', '80', '141'];

/** Models ▸ Catalog: what can be deployed, what it needs, and whether there is room now. */
@customElement('mg-models-catalog')
export class MgModelsCatalog extends MgElement {
  static override styles = [
    MgElement.styles,
    css`
      :host { display: block; }
      .filters { min-width: 0; display: flex; flex-wrap: wrap; align-items: center; gap: 8px; }
      select { width: auto; max-width: min(240px, 100%); text-overflow: ellipsis; min-height: 28px; padding: 2px 8px; font-size: 13px; }
      .note { margin-bottom: 12px; padding: 8px 14px; border: 1px solid var(--hairline); border-radius: 8px; background: var(--s1); color: var(--text-2); overflow-wrap: anywhere; }
    `,
  ];

  @internal() private refreshing = false;

  override connectedCallback(): void {
    super.connectedCallback();
    for (const source of [state.catalog, state.gpus]) this.whileConnected(() => source.hold());
  }

  async #refresh(): Promise<void> {
    this.refreshing = true;
    try {
      const list = await body(api.POST('/v1/_ui/catalog/refresh'));
      state.catalog.set(list);
      toast(
        list.notes.length
          ? { text: `Refreshed, but: ${list.notes.join('; ')}`, kind: 'warning' }
          : { text: `The catalog is up to date: ${plural(list.items.length, 'model')}.` },
      );
    } catch (error) {
      toast({ text: asFailure(error).message, kind: 'critical' });
    }
    this.refreshing = false;
  }

  readonly #columns: readonly Column<CatalogView>[] = [
    {
      id: 'model',
      label: 'Model',
      main: true,
      cell: (entry) => html`<mg-stack><mg-id .value=${entry.id}></mg-id>${entry.aliases.length ? html`<small>${entry.aliases.join(', ')}</small>` : nothing}</mg-stack>`,
      sort: (entry) => entry.id,
      text: (entry) => [entry.id, ...entry.aliases].join(' '),
    },
    { id: 'for', label: 'For', nowrap: true, cell: (entry) => entry.capabilities.join(', '), sort: (entry) => entry.capabilities.join(' ') },
    { id: 'parameters', label: 'Parameters', numeric: true, nowrap: true, cell: (entry) => (entry.parameters < 999.5e6 ? `${number(entry.parameters / 1e6)} M` : `${number(entry.parameters / 1e9)} B`), sort: (entry) => entry.parameters },
    { id: 'context', label: 'Context', numeric: true, cell: (entry) => count(entry.context), sort: (entry) => entry.context, optional: true },
    {
      id: 'vram',
      label: 'GPUs × VRAM',
      numeric: true,
      nowrap: true,
      cell: (entry) => `${Math.max(1, entry.default_gpus)} × ${bytes(entry.vram_bytes)}`,
      sort: (entry) => entry.vram_bytes * Math.max(1, entry.default_gpus),
    },
    {
      id: 'fit',
      label: 'Here',
      nowrap: true,
      cell: (entry) => {
        const fit = fitOf(entry, state.gpus.items.value);
        return html`<mg-status kind=${fit.kind} word=${fit.word}></mg-status>`;
      },
      sort: (entry) => fitOf(entry, state.gpus.items.value).word,
    },
    { id: 'licence', label: 'Licence', cell: (entry) => html`${entry.licence}${entry.gated ? html` <mg-badge tone="warning">gated</mg-badge>` : nothing}`, sort: (entry) => entry.licence },
    { id: 'source', label: 'Source', cell: (entry) => html`<mg-badge tone=${entry.source === 'packaged' ? 'idle' : 'maintenance'}>${entry.source}</mg-badge>`, sort: (entry) => entry.source },
    {
      id: 'deploy',
      label: '',
      actions: true,
      cell: (entry) =>
        entry.deployed
          ? html`<a class="btn ghost" href=${`/cluster/desired?q=${encodeURIComponent(entry.id)}`}>Desired</a>`
          : html`<button type="button" class="btn" aria-label=${`Deploy ${entry.id}`} title=${decidedElsewhere.value || nothing} ?disabled=${decidedElsewhere.value !== ''} @click=${() => setParams({ deploy: entry.id, again: null })}>Deploy</button>`,
    },
  ];

  #select(name: string, label: string, options: readonly (readonly [value: string, label: string])[]): unknown {
    const chosen = param(name);
    return html`<select aria-label=${label} @change=${(event: Event) => setParams({ [name]: (event.target as HTMLSelectElement).value, page: null })}>
      <option value="" ?selected=${!chosen}>${label}: any</option>
      ${options.map(([value, text]) => html`<option value=${value} ?selected=${value === chosen}>${text}</option>`)}
    </select>`;
  }

  protected override render(): unknown {
    const list = state.catalog.value;
    const all = list?.items ?? [];
    const [capability, vram, source] = [param('capability'), Number(param('vram')), param('source')];
    const rows = all.filter(
      (entry) =>
        (!capability || (entry.capabilities as readonly string[]).includes(capability)) &&
        (!vram || entry.vram_bytes * Math.max(1, entry.default_gpus) <= vram * GIB) &&
        (!source || entry.source === source),
    );
    const named = (values: readonly string[]): readonly (readonly [string, string])[] => [...new Set(values)].sort().map((value) => [value, value]);
    if (param('deploy')) void import('./mg-deploy-dialog.ts');
    const chosen = all.find((entry) => entry.id === param('deploy'));
    return html`<h1 class="visually-hidden">Model catalog</h1>
      <mg-state .source=${state.catalog} rows="8">
        ${list?.notes.map((note) => html`<p class="note clamp" role="status">${note}</p>`)}
        <mg-table name="catalog" label="models" sort="vram" .columns=${this.#columns} .rows=${rows} .rowKey=${(entry: CatalogView) => entry.id}>
          <div class="filters" slot="filters">
            ${this.#select('capability', 'Capability', named(all.flatMap((entry) => entry.capabilities)))}
            ${this.#select('vram', 'VRAM', SIZES.map((size) => [size, `≤ ${size} GiB`] as const))}
            ${this.#select('source', 'Source', named(all.map((entry) => entry.source)))}
            <button type="button" class="btn" ?disabled=${this.refreshing} @click=${() => void this.#refresh()}>${icon('refresh')} ${this.refreshing ? 'Refreshing …' : 'Refresh'}</button>
            <mg-menu icon="terminal" label="Refresh as a command" .items=${copiedAs('Refresh', REFRESH)}></mg-menu>
          </div>
        </mg-table>
      </mg-state>
      ${chosen ? html`<mg-deploy-dialog .entry=${chosen} again=${param('again')} @mg-close=${() => setParams({ deploy: null, again: null }, { replace: true })}></mg-deploy-dialog>` : nothing}`;
  }
}
