import { css, html, nothing } from 'lit';
import { customElement } from 'lit/decorators.js';
import { state } from '../../appstate.ts';
import { announce } from '../../kit/announce.ts';
import '../../kit/card.ts';
import { copyText } from '../../kit/clipboard.ts';
import '../../kit/copy.ts';
import { MgElement } from '../../kit/element.ts';
import { icon } from '../../kit/icons.ts';
import '../../kit/states.ts';
import { toast } from '../../kit/toast.ts';
import { resolve } from '../../views.ts';

type Json = string | number | boolean | null | readonly Json[] | { readonly [key: string]: Json };

const SECTIONS: readonly (readonly [key: string, about: string])[] = [
  ['api', 'The gateway on its port, the console on its own'],
  ['docker', 'How engines are started'],
  ['gpus', 'Which GPUs are used, and for what'],
  ['models', 'Where the catalog comes from, what loads by itself'],
  ['containers', 'Deployments named in the file'],
  ['cluster', 'This node among others'],
];

/** Overview ▸ Configuration: the resolved configuration, read only. Editing is in Settings and on the command line. */
@customElement('mg-overview-configuration')
export class MgOverviewConfiguration extends MgElement {
  static override styles = [
    MgElement.styles,
    css`
      .top { display: flex; flex-wrap: wrap; align-items: center; gap: 8px 16px; margin-bottom: 16px; }
      .top p { flex: 1 1 300px; min-width: 0; color: var(--text-2); overflow-wrap: anywhere; }
      .grid { columns: 2 420px; column-gap: 16px; }
      .grid mg-card { break-inside: avoid; margin-bottom: 16px; }
      dl { display: grid; grid-template-columns: minmax(110px, auto) 1fr; }
      dt, dd { padding: 6px 0; border-top: 1px solid var(--hairline); min-width: 0; }
      dt { padding-right: 16px; color: var(--text-2); }
      dd { font: 12px/20px var(--mono); overflow-wrap: anywhere; }
      dt:first-of-type, dd:first-of-type { border-top: 0; }
      dd dl { margin: -6px 0; }
      .unset { color: var(--text-3); }
    `,
  ];

  override connectedCallback(): void {
    super.connectedCallback();
    this.whileConnected(() => state.config.hold());
  }

  #value(value: Json): unknown {
    if (value === null) return html`<span class="unset">not set</span>`;
    if (Array.isArray(value) && value.every((item) => typeof item !== 'object')) {
      return value.length ? value.map(String).join(', ') : html`<span class="unset">none</span>`;
    }
    if (Array.isArray(value)) return value.map((item: Json) => html`<div>${this.#line(item)}</div>`);
    if (typeof value === 'object') {
      const entries = Object.entries(value);
      return entries.length ? this.#list(entries) : html`<span class="unset">none</span>`;
    }
    return value === '' ? html`<span class="unset">empty</span>` : String(value);
  }

  /** A section of a list in one line: `name: L4 · vramGib: 22`; what is not set is left out. */
  #line(item: Json): unknown {
    if (item === null || typeof item !== 'object' || Array.isArray(item)) return this.#value(item);
    const set = Object.entries(item).filter(([, value]) => value !== null && !(typeof value === 'object' && Object.keys(value).length === 0));
    return set.map(([key, value], i) => html`${i ? ' · ' : ''}<span class="unset">${key}:</span> ${typeof value === 'object' ? JSON.stringify(value) : String(value)}`);
  }

  #list(entries: readonly (readonly [string, Json])[]): unknown {
    return html`<dl>${entries.map(([key, value]) => html`<dt>${key}</dt><dd>${this.#value(value)}</dd>`)}</dl>`;
  }

  #section(name: string, about: string, value: Json): unknown {
    const inside =
      value !== null && typeof value === 'object' && !Array.isArray(value)
        ? this.#list(Object.entries(value))
        : Array.isArray(value) && value.length
          ? value.map((item: Json) => this.#value(item))
          : this.#value(value);
    return html`<mg-card heading=${name} note=${about}>${inside}</mg-card>`;
  }

  async #copy(text: string): Promise<void> {
    const copied = await copyText(text);
    announce(copied ? 'Copied' : 'Not copied');
    toast(copied ? { text: 'The configuration is on the clipboard.' } : { text: 'The browser refused to copy.', kind: 'critical' });
  }

  protected override render(): unknown {
    const document = state.config.value;
    const config = (document?.['config'] ?? {}) as Record<string, Json>;
    const known = new Set(SECTIONS.map(([key]) => key));
    const rest = Object.entries(config).filter(([key]) => !known.has(key));
    return html`<h1 class="visually-hidden">Configuration</h1>
      <mg-state .source=${state.config} rows="8">
        <div class="top">
          <p>
            What is in force now, defaults included, from <code class="mono">${String(document?.['path'] ?? '')}</code>. Secrets are
            not shown. ${resolve('/settings') ? html`Change it in <a href="/settings">Settings</a> or with` : 'Change it with'}
            <code class="mono">modelgrid config set</code>.
          </p>
          <button type="button" class="btn" @click=${() => void this.#copy(JSON.stringify(config, null, 2))}>${icon('copy')} Copy JSON</button>
        </div>
        <div class="grid">
          ${rest.length ? html`<mg-card heading="node" note="This machine">${this.#list(rest)}</mg-card>` : nothing}
          ${SECTIONS.filter(([key]) => key in config).map(([key, about]) => this.#section(key, about, config[key] ?? null))}
        </div>
      </mg-state>`;
  }
}
