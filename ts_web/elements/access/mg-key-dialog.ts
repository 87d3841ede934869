import { css, html, nothing } from 'lit';
import { customElement, state as internal } from 'lit/decorators.js';
import { state } from '../../appstate.ts';
import { quoted, type Spoken } from '../../commands.ts';
import { api, body, type Schemas } from '../../data/client.ts';
import { asFailure, type Failure } from '../../data/failure.ts';
import { daemonTime } from '../../kit/clock.ts';
import '../../kit/copy.ts';
import '../../kit/dialog.ts';
import { MgElement } from '../../kit/element.ts';
import '../../kit/field.ts';
import '../../kit/spoken.ts';

type NewApiKey = Schemas['NewApiKey'];

const DAY_SECONDS = 86_400;
const LIFETIMES = [
  { value: '', label: 'does not expire' },
  { value: '30', label: '30 days' },
  { value: '90', label: '90 days' },
  { value: '365', label: 'a year' },
];

/** Make an API key: name it, bound it, and see its secret this once. Emits `mg-close`. */
@customElement('mg-key-dialog')
export class MgKeyDialog extends MgElement {
  static override styles = [
    MgElement.styles,
    css`
      form, .made { display: grid; gap: 14px; }
      .limits { display: grid; grid-template-columns: repeat(auto-fit, minmax(140px, 1fr)); gap: 14px; }
      details summary { padding: 2px 0; color: var(--text-2); cursor: pointer; }
      details .limits { margin-top: 10px; }
      .alert { padding: 8px 12px; border: 1px solid var(--critical); border-radius: 6px; background: var(--critical-tint); overflow-wrap: anywhere; }
      .once { padding: 8px 12px; border: 1px solid var(--warning); border-radius: 6px; background: var(--warning-tint); }
    `,
  ];

  @internal() private label = '';
  @internal() private models = '';
  @internal() private days = '';
  @internal() private requests = '';
  @internal() private tokens = '';
  @internal() private concurrent = '';
  @internal() private busy = false;
  @internal() private failure: Failure | null = null;
  @internal() private made: NewApiKey | null = null;

  get #wish(): Schemas['ApiKeyBody'] {
    const models = this.models.split(/[\s,]+/).filter(Boolean);
    const whole = (text: string): number | null => (text === '' ? null : Number(text));
    return {
      label: this.label.trim(),
      models: models.length ? models : null,
      expires_at: this.days ? Math.round(daemonTime() + Number(this.days) * DAY_SECONDS) : null,
      requests_per_minute: whole(this.requests),
      tokens_per_minute: whole(this.tokens),
      concurrent_requests: whole(this.concurrent),
    };
  }

  get #spoken(): Spoken {
    const wish = this.#wish;
    const flags = [
      ...(wish.models ?? []).map((model) => ` --model ${quoted(model)}`),
      this.days ? ` --expires-in ${this.days}d` : '',
      wish.requests_per_minute ? ` --requests-per-minute ${wish.requests_per_minute}` : '',
      wish.tokens_per_minute ? ` --tokens-per-minute ${wish.tokens_per_minute}` : '',
      wish.concurrent_requests ? ` --concurrent-requests ${wish.concurrent_requests}` : '',
    ].join('');
    const asked = Object.fromEntries(Object.entries(wish).filter(([, value]) => value !== null));
    return { cli: `modelgrid config apikey generate --label ${quoted(wish.label || 'NAME')}${flags}`, method: 'POST', path: 'apikeys', body: asked };
  }

  async #submit(event: Event): Promise<void> {
    event.preventDefault();
    if (this.busy || !this.label.trim()) return;
    this.busy = true;
    this.failure = null;
    try {
      this.made = await body(api.POST('/v1/_ui/apikeys', { body: this.#wish }));
      const { secret: _, ...view } = this.made;
      state.apikeys.put(view);
    } catch (error) {
      this.failure = asFailure(error);
    }
    this.busy = false;
  }

  #form(): unknown {
    const typed = (name: 'label' | 'models' | 'days' | 'requests' | 'tokens' | 'concurrent') => (event: CustomEvent<string>) => (this[name] = event.detail);
    return html`<form @submit=${this.#submit}>
      ${this.failure ? html`<p class="alert" role="alert">${this.failure.message} ${this.failure.fix}</p>` : nothing}
      <mg-field label="Label" required autofocus help="Who or what uses it: it names the key in metrics and logs." .value=${this.label} @mg-input=${typed('label')}></mg-field>
      <mg-field label="Models" optional help="The only models it may use, separated by commas. Empty: all." placeholder="Qwen/Qwen3-4B-Instruct-2507" .value=${this.models} @mg-input=${typed('models')}></mg-field>
      <mg-field label="Lifetime" kind="select" .options=${LIFETIMES} .value=${this.days} @mg-input=${typed('days')}></mg-field>
      <details>
        <summary>Limits</summary>
        <div class="limits">
          <mg-field label="Requests per minute" kind="number" min="1" .value=${this.requests} @mg-input=${typed('requests')}></mg-field>
          <mg-field label="Tokens per minute" kind="number" min="1" .value=${this.tokens} @mg-input=${typed('tokens')}></mg-field>
          <mg-field label="Requests at a time" kind="number" min="1" .value=${this.concurrent} @mg-input=${typed('concurrent')}></mg-field>
        </div>
      </details>
      <mg-spoken .spoken=${this.#spoken}></mg-spoken>
    </form>`;
  }

  #secret(made: NewApiKey): unknown {
    return html`<div class="made">
      <p class="once"><b>You will not see this secret again.</b> Copy it now; only its digest is stored.</p>
      <mg-command label="secret" text=${made.secret}></mg-command>
    </div>`;
  }

  protected override render(): unknown {
    const made = this.made;
    return html`<mg-dialog open heading=${made ? `API key for ${made.label}` : 'Generate an API key'} @mg-close=${(event: Event) => (event.stopPropagation(), this.emit('mg-close', undefined))}>
      ${made ? this.#secret(made) : this.#form()}
      ${made
        ? html`<button slot="footer" type="button" class="btn primary" @click=${() => this.emit('mg-close', undefined)}>I have copied it</button>`
        : html`<button slot="footer" type="button" class="btn" @click=${() => this.emit('mg-close', undefined)}>Cancel</button>
            <button slot="footer" type="button" class="btn primary" ?disabled=${this.busy || !this.label.trim()} @click=${this.#submit}>${this.busy ? 'Generating …' : 'Generate'}</button>`}
    </mg-dialog>`;
  }
}
