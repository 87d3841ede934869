import { css, html, nothing } from 'lit';
import { customElement, state as internal } from 'lit/decorators.js';
import { state, type ApiKeyView } from '../../appstate.ts';
import { quoted, spokenItem } from '../../commands.ts';
import { api, body } from '../../data/client.ts';
import { asFailure } from '../../data/failure.ts';
import '../../kit/copy.ts';
import { confirm } from '../../kit/dialog.ts';
import { MgElement } from '../../kit/element.ts';
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
import { decidedElsewhere } from '../cluster/control-plane.ts';

/** Access ▸ API Keys: who may call the gateway. */
@customElement('mg-access-apikeys')
export class MgAccessApikeys extends MgElement {
  static override styles = [MgElement.styles, css`:host { display: block; }`];

  @internal() private generating = false;
  readonly #notes = new RowNotes();

  override connectedCallback(): void {
    super.connectedCallback();
    this.whileConnected(() => state.apikeys.hold());
  }

  async #revoke(key: ApiKeyView): Promise<void> {
    const sure = await confirm({
      heading: 'Revoke this API key?',
      text: `Whoever uses “${key.label}” (${key.prefix}…) is refused within a second, running streams aside. It cannot be taken back.`,
      verb: 'Revoke',
      name: key.label,
    });
    if (!sure) return;
    try {
      state.apikeys.put(await body(api.DELETE('/v1/_ui/apikeys/{key}', { params: { path: { key: key.id } } })));
      this.#notes.done(key.id, 'Revoked: it is refused from now on.');
    } catch (error) {
      this.#notes.refuse(key.id, asFailure(error).message);
    }
  }

  #actions(key: ApiKeyView): readonly MenuItem[] {
    const over = decidedElsewhere.value || (key.status === 'revoked' ? 'It is revoked already.' : '');
    return [
      spokenItem({ label: 'Revoke…', icon: 'close', danger: true, refusal: over, run: () => void this.#revoke(key) },
        { cli: `modelgrid config apikey revoke ${quoted(key.id)}`, method: 'DELETE', path: `apikeys/${encodeURIComponent(key.id)}` }),
    ]; // prettier-ignore
  }

  readonly #columns: readonly Column<ApiKeyView>[] = [
    {
      id: 'label',
      label: 'Label',
      main: true,
      cell: (key) => html`<mg-stack><span>${key.label}</span>${this.#notes.of(key.id)}</mg-stack>`,
      sort: (key) => key.label,
    },
    { id: 'prefix', label: 'Prefix', nowrap: true, cell: (key) => html`<code class="mono">${key.prefix}…</code>`, sort: (key) => key.prefix },
    { id: 'status', label: 'Status', nowrap: true, cell: (key) => html`<mg-status state=${key.status}></mg-status>`, sort: (key) => key.status },
    { id: 'scope', label: 'Scope', cell: (key) => (key.scope === 'all' ? 'all models' : key.scope), sort: (key) => key.scope },
    { id: 'created', label: 'Created', nowrap: true, cell: (key) => html`<mg-time .at=${key.created_at}></mg-time>`, sort: (key) => key.created_at },
    { id: 'used', label: 'Last used', nowrap: true, cell: (key) => (key.last_used_at ? html`<mg-time .at=${key.last_used_at}></mg-time>` : html`<span class="muted">never</span>`), sort: (key) => key.last_used_at },
    { id: 'expires', label: 'Expires', nowrap: true, cell: (key) => (key.expires_at ? html`<mg-time .at=${key.expires_at}></mg-time>` : html`<span class="muted">never</span>`), sort: (key) => key.expires_at },
    { id: 'id', label: 'Id', cell: (key) => html`<mg-id .value=${key.id} short="10"></mg-id>`, sort: (key) => key.id, optional: true },
    { id: 'actions', label: '', actions: true, cell: (key) => html`<mg-menu label=${`Actions for ${key.label}`} .items=${this.#actions(key)}></mg-menu>` },
  ];

  protected override render(): unknown {
    const all = state.apikeys.items.value;
    const elsewhere = decidedElsewhere.value;
    if (this.generating) void import('./mg-key-dialog.ts');
    const generate = html`<button slot="filters" type="button" class="btn primary" title=${elsewhere || nothing} ?disabled=${elsewhere !== ''} @click=${() => (this.generating = true)}>${icon('plus')} Generate</button>`;
    return html`<h1 class="visually-hidden">API keys</h1>
      <mg-state .source=${state.apikeys} rows="4">
        ${all.length
          ? html`<mg-table name="apikeys" label="keys" sort="-created" .columns=${this.#columns} .rows=${all} .rowKey=${(key: ApiKeyView) => key.id}>${generate}</mg-table>`
          : html`<mg-empty heading="There is no API key" icon="access">
              <p>${elsewhere || 'Clients of the gateway need one.'}</p>
              <button type="button" class="btn primary" ?disabled=${elsewhere !== ''} @click=${() => (this.generating = true)}>${icon('plus')} Generate</button>
              <mg-command text="modelgrid config apikey generate --label NAME"></mg-command>
            </mg-empty>`}
      </mg-state>
      ${this.generating ? html`<mg-key-dialog @mg-close=${() => (this.generating = false)}></mg-key-dialog>` : nothing}`;
  }
}
