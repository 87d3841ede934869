import { effect } from '@preact/signals-core';
import { css, html, nothing, type PropertyValues } from 'lit';
import { customElement, property, state as internal } from 'lit/decorators.js';
import { state } from '../../appstate.ts';
import { api, body, type Schemas } from '../../data/client.ts';
import { asFailure, type Failure } from '../../data/failure.ts';
import { sessionState } from '../../data/session.ts';
import { link } from '../../data/stream.ts';
import '../../kit/dialog.ts';
import { MgElement } from '../../kit/element.ts';
import '../../kit/field.ts';
import { count } from '../../kit/format.ts';
import '../../kit/spoken.ts';
import { toast } from '../../kit/toast.ts';
import '../deployments/mg-decision.ts';
import type { CatalogView } from './fit.ts';
import { emptyNames, keptOf, labelsProblem, spokenWish, typedOf, UNTYPED, wishOf, type Kept, type Typed } from './wish.ts';

/** Typing settles before the preview asks the daemon. */
const SETTLE_MS = 250;
/** So often a new target is asked for its deployments. */
const TRIES = 12;

const VENDORS = [
  { value: '', label: 'any' },
  { value: 'nvidia', label: 'NVIDIA' },
  { value: 'amd', label: 'AMD' },
  { value: 'intel', label: 'Intel' },
];

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
      .advanced { display: grid; gap: 12px; padding-top: 8px; }
      mg-spoken { margin-top: 12px; }
      details summary { padding: 2px 0; color: var(--text-2); cursor: pointer; }
    `,
  ];

  @property({ attribute: false }) entry!: CatalogView;
  /** The id of a deployment that ended, whose settings are taken over. */
  @property() again = '';
  @internal() private typed: Typed = UNTYPED;
  @internal() private kept: Partial<Kept> = {};
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
    // Whoever is back, the daemon or somebody with the password, is asked again.
    this.whileConnected(() =>
      effect(() => {
        if (sessionState.value === 'open' && link.value.state === 'live' && this.objection && !this.#refusal) void this.#preview();
      }),
    );
  }

  protected override firstUpdated(): void {
    if (this.again) void this.#takeOver();
    else void this.#preview();
  }

  /** Begin with the settings of a deployment that ended. */
  async #takeOver(): Promise<void> {
    try {
      const { spec } = await body(api.GET('/v1/_ui/history/{deployment}', { params: { path: { deployment: this.again } } }));
      if (!spec) return;
      this.kept = keptOf(spec);
      this.typed = typedOf(spec);
    } catch (error) {
      this.failure = asFailure(error);
    }
  }

  protected override updated(changed: PropertyValues): void {
    if (!changed.has('typed') || !this.hasUpdated || labelsProblem(this.typed.labels)) return;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => void this.#preview(), SETTLE_MS);
  }

  async #preview(): Promise<void> {
    const turn = ++this.#turn;
    try {
      const answer = await body(api.POST('/v1/_ui/targets/preview', { body: { ...wishOf(this.typed, this.kept), model: this.entry.id } }));
      if (turn !== this.#turn) return;
      this.decisions = answer.decisions;
      this.objection = null;
    } catch (error) {
      if (turn !== this.#turn) return;
      this.objection = asFailure(error);
    }
  }

  /** What the daemon has against it. That it could not be asked is nothing against it. */
  get #refusal(): Failure | null {
    const status = this.objection?.status ?? 0;
    return status === 0 || status === 401 ? null : this.objection;
  }

  async #submit(event: Event): Promise<void> {
    event.preventDefault();
    if (this.busy) return;
    this.busy = true;
    this.failure = null;
    try {
      const path = { model: this.entry.id };
      let target = await body(api.PUT('/v1/_ui/targets/{model}', { params: { path }, body: wishOf(this.typed, this.kept) }));
      // What is desired is there at once, what is made of it a moment later: the message leads to its drawer.
      for (let tries = 0; tries < TRIES && target.deployments.length === 0; tries += 1) {
        await new Promise((resolve) => setTimeout(resolve, SETTLE_MS));
        target = await body(api.GET('/v1/_ui/targets/{model}', { params: { path } }));
      }
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
    const { typed } = this;
    const type = (name: keyof Typed) => (event: CustomEvent<string>) => (this.typed = { ...typed, [name]: event.detail });
    return html`<form @submit=${this.#submit}>
      ${this.failure ? html`<p class="alert" role="alert">${this.failure.message} ${this.failure.fix}</p>` : nothing}
      ${this.again && Object.keys(this.kept).length ? html`<p class="muted">As ${this.again} was run: <code class="mono">${Object.entries(this.kept).map(([name, value]) => `${name}: ${typeof value === 'object' ? JSON.stringify(value) : String(value)}`).join(' · ')}</code></p>` : nothing}
      <div class="row">
        <mg-field label="Node" kind="select" .options=${[{ value: '', label: 'auto' }, ...nodes.map((node) => ({ value: node.name, label: node.name }))]} .value=${typed.node} @mg-input=${type('node')}></mg-field>
        <mg-field label="Replicas" kind="number" min="1" max="64" .value=${typed.replicas} @mg-input=${type('replicas')}></mg-field>
        <mg-field label="Context" optional kind="number" min="1" placeholder=${count(this.entry.default_context)} .value=${typed.context} @mg-input=${type('context')}></mg-field>
      </div>
      <mg-field label="Environment" optional kind="textarea" placeholder=${this.entry.gated ? 'HF_TOKEN=hf_…' : 'NAME=value'}
        help=${this.entry.gated ? 'This model is gated: its repository asks for HF_TOKEN. Values are sealed and never shown again.' : 'One NAME=value per line. Values are sealed and never shown again.'}
        error=${emptyNames(typed.env).length ? `Type the value of ${emptyNames(typed.env).join(', ')}.` : ''} .value=${typed.env} @mg-input=${type('env')}></mg-field>
      ${this.entry.trust_remote_code || typed.trust
        ? html`<mg-field label="Run code of the model’s repository" kind="switch" help="It runs with the engine's rights: read it first. This model does not load without." .value=${typed.trust} @mg-input=${type('trust')}></mg-field>`
        : nothing}
      <details>
        <summary>Advanced: GPUs, which nodes, and how instances are spread</summary>
        <div class="advanced">
          <div class="row">
            <mg-field label="GPUs" optional kind="number" min="0" max="64" placeholder=${String(this.entry.default_gpus)} help="Of each instance; 0 runs it on the CPU." .value=${typed.gpus} @mg-input=${type('gpus')}></mg-field>
            <mg-field label="Concurrency" optional kind="number" min="1" help="Sequences of full length that the KV cache must hold." .value=${typed.concurrency} @mg-input=${type('concurrency')}></mg-field>
          </div>
          <div class="row">
            <mg-field label="Vendor" kind="select" .options=${VENDORS} .value=${typed.vendor} @mg-input=${type('vendor')}></mg-field>
            <mg-field label="Labels" optional placeholder="zone=a, rack=3" help="Only on nodes that have all of these." error=${labelsProblem(typed.labels)} .value=${typed.labels} @mg-input=${type('labels')}></mg-field>
          </div>
          <mg-field label="Pack" kind="switch" help="Fill nodes and GPUs one after the other. Otherwise instances are spread." .value=${typed.pack} @mg-input=${type('pack')}></mg-field>
          <mg-field label="Exclusive" kind="switch" help="Never more instances than desired, not even while the network is cut: a node that is cut off stops its own before they start elsewhere." .value=${typed.exclusive} @mg-input=${type('exclusive')}></mg-field>
        </div>
      </details>
    </form>`;
  }

  protected override render(): unknown {
    const spoken = spokenWish(this.entry.id, this.typed, this.kept);
    return html`<mg-dialog open heading=${`Deploy ${this.entry.id}`} @mg-close=${(event: Event) => (event.stopPropagation(), this.emit('mg-close', undefined))}>
      ${this.#form()}
      <section class="preview" aria-label="Where it would land" aria-live="polite">${this.#landing()}</section>
      <mg-spoken .spoken=${spoken}></mg-spoken>
      <button slot="footer" type="button" class="btn" @click=${() => this.emit('mg-close', undefined)}>Cancel</button>
      <button slot="footer" type="button" class="btn primary" ?disabled=${this.busy || this.#refusal !== null || labelsProblem(this.typed.labels) !== ''} @click=${this.#submit}>${this.busy ? 'Deploying …' : 'Deploy'}</button>
    </mg-dialog>`;
  }
}
