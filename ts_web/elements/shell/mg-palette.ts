import { css, html, nothing } from 'lit';
import { customElement, query, state as internal } from 'lit/decorators.js';
import { chooseTheme, state, theme } from '../../appstate.ts';
import { paused, setPaused } from '../../data/stream.ts';
import { logout } from '../../data/session.ts';
import { MgElement } from '../../kit/element.ts';
import { icon, type IconName } from '../../kit/icons.ts';
import { navigate } from '../../router.ts';
import { AREAS, resolve } from '../../views.ts';

interface Entry {
  readonly kind: string;
  readonly label: string;
  readonly note?: string;
  readonly icon: IconName;
  readonly run: () => void;
}

const MOST = 12;

/** `Ctrl K`: views, nodes, deployments, models and actions in one list. */
@customElement('mg-palette')
export class MgPalette extends MgElement {
  static override styles = [
    MgElement.styles,
    css`
      dialog { width: min(560px, calc(100vw - 24px)); max-height: min(520px, calc(100dvh - 48px)); margin-top: min(12vh, 96px); padding: 0; border: 1px solid var(--control); border-radius: 10px; background: var(--s1); color: var(--text); box-shadow: var(--shadow); overflow: hidden; }
      dialog[open] { display: flex; flex-direction: column; }
      dialog::backdrop { background: var(--backdrop); }
      input { min-height: 48px; padding: 0 16px; border: 0; border-bottom: 1px solid var(--hairline); border-radius: 0; background: none; font-size: 16px; }
      input:focus-visible { outline: none; }
      ul { overflow: auto; padding: 6px; }
      li { display: flex; align-items: center; gap: 10px; min-height: 36px; padding: 4px 10px; border-radius: 6px; cursor: pointer; }
      li[aria-selected='true'] { background: var(--accent-tint); }
      li .icon { color: var(--text-2); }
      .label { flex: none; max-width: 72%; min-width: 0; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
      .note { flex: 0 1 auto; min-width: 0; color: var(--text-3); font-size: 12px; white-space: nowrap; overflow: hidden; text-overflow: ellipsis; }
      @media (max-width: 480px) { .note { display: none; } .label { flex: 0 1 auto; max-width: none; } }
      .kind { margin-left: auto; color: var(--text-3); font-size: 12px; }
      .none { padding: 20px; text-align: center; color: var(--text-2); }
    `,
  ];

  @internal() private typed = '';
  @internal() private at = 0;
  @query('dialog') private dialog!: HTMLDialogElement;

  override connectedCallback(): void {
    super.connectedCallback();
    this.whileConnected(() => state.deployments.hold());
    this.whileConnected(() => state.nodes.hold());
    this.whileConnected(() => state.catalog.hold());
  }

  protected override firstUpdated(): void {
    this.dialog.showModal();
  }

  #entries(): readonly Entry[] {
    const go = (href: string) => () => navigate(href);
    const views = AREAS.flatMap((area) =>
      area.views.map((view) => ({
        kind: 'view',
        label: view.title === area.title ? area.title : `${area.title} ▸ ${view.title}`,
        icon: area.icon,
        run: go(view.path),
      })),
    );
    const reach = (path: string, entries: () => readonly Entry[]): readonly Entry[] => (resolve(path)?.path === path ? entries() : []);
    const other = theme.value === 'dark' ? 'light' : 'dark';
    return [
      ...views,
      ...reach('/deployments/active', () =>
        state.deployments.items.value.map((one) => ({
          kind: 'deployment', label: one.id, note: `${one.model} · ${one.state}`, icon: 'deployments', run: go(`/deployments/active?open=${encodeURIComponent(one.id)}`),
        })),
      ),
      ...reach('/cluster/nodes', () =>
        state.nodes.items.value.map((one) => ({
          kind: 'node', label: one.name, note: one.role, icon: 'cluster', run: go(`/cluster/nodes?q=${encodeURIComponent(one.name)}`),
        })),
      ),
      ...reach('/models/catalog', () =>
        (state.catalog.value?.items ?? []).map((one) => ({
          kind: 'model', label: one.id, note: one.aliases.join(', '), icon: 'models', run: go(`/models/catalog?q=${encodeURIComponent(one.id)}`),
        })),
      ),
      { kind: 'action', label: `Use the ${other} theme`, icon: other === 'dark' ? 'moon' : 'sun', run: () => chooseTheme(other) },
      { kind: 'action', label: paused.value ? 'Resume live data' : 'Pause live data', icon: paused.value ? 'play' : 'pause', run: () => setPaused(!paused.value) },
      { kind: 'action', label: 'Log out', icon: 'logout', run: () => void logout() },
    ]; // prettier-ignore
  }

  get #found(): readonly Entry[] {
    const words = this.typed.toLowerCase().split(/\s+/).filter(Boolean);
    const hit = (entry: Entry): boolean => {
      const text = `${entry.label} ${entry.note ?? ''} ${entry.kind}`.toLowerCase();
      return words.every((word) => text.includes(word));
    };
    return this.#entries().filter(hit).slice(0, words.length ? MOST : MOST + 8);
  }

  #choose(entry: Entry | undefined): void {
    if (!entry) return;
    this.dialog.close();
    entry.run();
  }

  #key(event: KeyboardEvent): void {
    const found = this.#found;
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step !== undefined && found.length) {
      event.preventDefault();
      this.at = (this.at + step + found.length) % found.length;
      void this.updateComplete.then(() => this.renderRoot.querySelector('[aria-selected=true]')?.scrollIntoView({ block: 'nearest' }));
    } else if (event.key === 'Enter') {
      event.preventDefault();
      this.#choose(found[this.at]);
    }
  }

  protected override render(): unknown {
    const found = this.#found;
    return html`<dialog aria-label="Go to anything" @close=${() => this.emit('mg-close', undefined)} @click=${(e: Event) => e.target === this.dialog && this.dialog.close()}>
      <input
        role="combobox"
        aria-label="Go to a view, node, deployment, model or action"
        aria-expanded="true"
        aria-controls="found"
        aria-autocomplete="list"
        aria-activedescendant=${found.length ? `entry-${this.at}` : nothing}
        placeholder="Go to a view, node, deployment, model …"
        autocomplete="off"
        autofocus
        @keydown=${this.#key}
        @input=${(e: Event) => ((this.typed = (e.target as HTMLInputElement).value), (this.at = 0))}
      />
      <ul id="found" role="listbox" aria-label="Found" tabindex="-1">
        ${found.map(
          (entry, i) => html`<li role="option" id=${`entry-${i}`} aria-selected=${i === this.at ? 'true' : 'false'}
            @click=${() => this.#choose(entry)} @pointermove=${() => (this.at = i)}>
            ${icon(entry.icon)}<span class="label">${entry.label}</span>
            ${entry.note ? html`<span class="note">${entry.note}</span>` : nothing}<span class="kind">${entry.kind}</span>
          </li>`,
        )}
      </ul>
      ${found.length ? nothing : html`<div class="none">Nothing is called that.</div>`}
    </dialog>`;
  }
}
