import { css, html, nothing, type PropertyValues } from 'lit';
import { customElement, property, state as internal } from 'lit/decorators.js';
import { state } from '../../appstate.ts';
import { curl, quoted, type Spoken } from '../../commands.ts';
import { api, body, type Schemas } from '../../data/client.ts';
import { asFailure, type Failure } from '../../data/failure.ts';
import '../../kit/copy.ts';
import '../../kit/dialog.ts';
import { MgElement } from '../../kit/element.ts';
import '../../kit/field.ts';
import { count } from '../../kit/format.ts';
import { toast } from '../../kit/toast.ts';
import '../deployments/mg-decision.ts';
import type { CatalogView } from './fit.ts';

type TargetBody = Schemas['TargetBody'];

/** Typing settles before the preview asks the daemon. */
const SETTLE_MS = 250;

/** Deploy a model: what to ask for, and where it would land before anything is done. Emits `mg-close`. */
@customElement('mg-deploy-dialog')
export class MgDeployDialog extends MgElement {
  static override styles = [
    MgElement.styles,
    css`
      mg-dialog { --dialog-width: 640px; }
      form { display: grid; gap: 14px; }
      .row { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 14px; }
      .preview { display: grid; gap: 12px; margin-top: 16px; padding: 12px 14px; border: 1px solid var(--hairline); border-radius: 8px; background: var(--bg); }
      .preview h3 { font-size: 13px; line-height: 20px; }
      .alert { padding: 8px 12px; border: 1px solid var(--critical); border-radius: 6px; background: var(--critical-tint); overflow-wrap: anywhere; }
      details { margin-top: 12px; }
      details summary { padding: 2px 0; color: var(--text-2); cursor: pointer; }
      details mg-command { margin-top: 8px; }
    `,
  ];

  @property({ attribute: false }) entry!: CatalogView;
  @internal() private node = '';
  @internal() private replicas = '1';
  @internal() private context = '';
  @internal() private env = '';
  @internal() private busy = false;
  @internal() private failure: Failure | null = null;
  @internal() private decisions: readonly Schemas['Decision'][] | null = null;
  @internal() private objection: Failure | null = null;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #turn = 0;

  override connectedCallback(): void {
    super.connectedCallback();
    this.whileConnected(() => state.nodes.hold());
    this.whileConnected(() => () => clearTimeout(this.#timer));
  }

  protected override firstUpdated(): void {
    void this.#preview();
  }

  protected override updated(changed: PropertyValues): void {
    if (!['node', 'replicas', 'context', 'env'].some((name) => changed.has(name)) || !this.hasUpdated) return;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => void this.#preview(), SETTLE_MS);
  }

  get #environment(): Record<string, string> {
    const pairs = this.env.split('\n').filter((line) => line.includes('='));
    return Object.fromEntries(pairs.map((line) => [line.slice(0, line.indexOf('=')).trim(), line.slice(line.indexOf('=') + 1)]));
  }

  get #wish(): TargetBody {
    const wish: Partial<TargetBody> = { replicas: Number(this.replicas) || 0 };
    if (this.node) wish.node = this.node;
    if (this.context) wish.context = Number(this.context);
    if (Object.keys(this.#environment).length) wish.env = this.#environment;
    return wish as TargetBody;
  }

  async #preview(): Promise<void> {
    const turn = ++this.#turn;
    try {
      const answer = await body(api.POST('/v1/_ui/targets/preview', { body: { ...this.#wish, model: this.entry.id } }));
      if (turn !== this.#turn) return;
      this.decisions = answer.decisions;
      this.objection = null;
    } catch (error) {
      if (turn !== this.#turn) return;
      this.objection = asFailure(error);
    }
  }

  async #submit(event: Event): Promise<void> {
    event.preventDefault();
    if (this.busy) return;
    this.busy = true;
    this.failure = null;
    try {
      const target = await body(api.PUT('/v1/_ui/targets/{model}', { params: { path: { model: this.entry.id } }, body: this.#wish }));
      state.targets.put(target);
      for (const one of target.deployments) state.deployments.put(one);
      const newest = target.deployments.at(-1);
      const href = newest ? `/deployments/active?open=${encodeURIComponent(newest.id)}` : `/deployments/active?q=${encodeURIComponent(target.name)}`;
      toast({ text: `${this.entry.id} is on its way.`, kind: 'busy', link: { href, label: 'Follow it' }, seconds: 15 });
      this.emit('mg-close', undefined);
    } catch (error) {
      this.failure = asFailure(error);
    }
    this.busy = false;
  }

  /** The same as a command; values of the environment are not shown. */
  get #spoken(): Spoken {
    const names = Object.keys(this.#environment);
    const flags = [
      this.node ? ` --node ${quoted(this.node)}` : '',
      this.replicas !== '1' ? ` --replicas ${this.replicas}` : '',
      this.context ? ` --context ${this.context}` : '',
      ...names.map((name) => ` --env ${quoted(name)}`),
    ].join('');
    const env = names.length ? { env: Object.fromEntries(names.map((name) => [name, `$${name}`])) } : {};
    return { cli: `modelgrid run ${quoted(this.entry.id)}${flags}`, method: 'PUT', path: `targets/${this.entry.id}`, body: { ...this.#wish, ...env } };
  }

  #landing(): unknown {
    if (this.objection) return html`<p class="alert" role="alert">${this.objection.message} ${this.objection.fix}</p>`;
    if (this.decisions === null) return html`<p class="muted">Asking where it would land …</p>`;
    if (this.decisions.length === 0) return html`<p class="muted">Nothing would change: as many replicas are desired already.</p>`;
    return this.decisions.map(
      (decision, index) => html`${this.decisions && this.decisions.length > 1 ? html`<h3>Replica ${index + 1}</h3>` : nothing}
        <mg-decision .decision=${decision}></mg-decision>`,
    );
  }

  #form(): unknown {
    const nodes = state.nodes.items.value;
    const typed = (name: 'node' | 'replicas' | 'context' | 'env') => (event: CustomEvent<string>) => (this[name] = event.detail);
    return html`<form @submit=${this.#submit}>
      ${this.failure ? html`<p class="alert" role="alert">${this.failure.message} ${this.failure.fix}</p>` : nothing}
      <div class="row">
        <mg-field label="Node" kind="select" .options=${[{ value: '', label: 'auto' }, ...nodes.map((node) => ({ value: node.name, label: node.name }))]} .value=${this.node} @mg-input=${typed('node')}></mg-field>
        <mg-field label="Replicas" kind="number" min="1" max="64" .value=${this.replicas} @mg-input=${typed('replicas')}></mg-field>
        <mg-field label="Context" optional kind="number" min="1" placeholder=${count(this.entry.default_context)} .value=${this.context} @mg-input=${typed('context')}></mg-field>
      </div>
      <mg-field label="Environment" optional kind="textarea" placeholder=${this.entry.gated ? 'HF_TOKEN=hf_…' : 'NAME=value'}
        help=${this.entry.gated ? 'This model is gated: its repository asks for HF_TOKEN. Values are sealed and never shown again.' : 'One NAME=value per line. Values are sealed and never shown again.'}
        .value=${this.env} @mg-input=${typed('env')}></mg-field>
    </form>`;
  }

  protected override render(): unknown {
    return html`<mg-dialog open heading=${`Deploy ${this.entry.id}`} @mg-close=${(event: Event) => (event.stopPropagation(), this.emit('mg-close', undefined))}>
      ${this.#form()}
      <section class="preview" aria-label="Where it would land" aria-live="polite">${this.#landing()}</section>
      <details><summary>As a command</summary>
        <mg-command text=${this.#spoken.cli}></mg-command>
        <mg-command label="call" text=${curl(this.#spoken)}></mg-command>
      </details>
      <button slot="footer" type="button" class="btn" @click=${() => this.emit('mg-close', undefined)}>Cancel</button>
      <button slot="footer" type="button" class="btn primary" ?disabled=${this.busy || this.objection !== null} @click=${this.#submit}>${this.busy ? 'Deploying …' : 'Deploy'}</button>
    </mg-dialog>`;
  }
}
