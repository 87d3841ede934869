import { css, html, nothing } from 'lit';
import { customElement, property, state as internal } from 'lit/decorators.js';
import { state, type TargetView } from '../../appstate.ts';
import { quoted, type Spoken } from '../../commands.ts';
import { api, body } from '../../data/client.ts';
import { asFailure, type Failure } from '../../data/failure.ts';
import '../../kit/dialog.ts';
import { MgElement } from '../../kit/element.ts';
import '../../kit/field.ts';
import { plural } from '../../kit/format.ts';
import '../../kit/spoken.ts';
import { toast } from '../../kit/toast.ts';

/** How many replicas of a target are desired; all else of it stays. Emits `mg-close`. */
@customElement('mg-scale-dialog')
export class MgScaleDialog extends MgElement {
  static override styles = [
    MgElement.styles,
    css`
      form { display: grid; gap: 14px; margin-bottom: 12px; }
      .alert { padding: 8px 12px; border: 1px solid var(--critical); border-radius: 6px; background: var(--critical-tint); overflow-wrap: anywhere; }
    `,
  ];

  @property({ attribute: false }) target!: TargetView;
  @internal() private replicas = '';
  @internal() private failure: Failure | null = null;

  get #chosen(): number {
    return this.replicas === '' ? this.target.replicas : Number(this.replicas);
  }

  get #what(): string {
    const change = this.#chosen - this.target.replicas;
    if (change > 0) return `${plural(change, 'replica')} more will be placed where there is room.`;
    if (change < 0) return `${plural(-change, 'replica')} less: they finish their requests first.`;
    return 'As it is.';
  }

  async #submit(event: Event): Promise<void> {
    event.preventDefault();
    try {
      const path = { model: this.target.name };
      state.targets.put(await body(api.PATCH('/v1/_ui/targets/{model}', { params: { path }, body: { replicas: this.#chosen } })));
      toast({ text: `${plural(this.#chosen, 'replica')} of ${this.target.name} desired.`, kind: 'busy', link: { href: `/deployments/active?q=${encodeURIComponent(this.target.model)}`, label: 'Follow them' } });
      this.emit('mg-close', undefined);
    } catch (error) {
      this.failure = asFailure(error);
    }
  }

  protected override render(): unknown {
    return html`<mg-dialog open heading=${`Scale ${this.target.name}`} @mg-close=${(event: Event) => (event.stopPropagation(), this.emit('mg-close', undefined))}>
      <form @submit=${this.#submit}>
        ${this.failure ? html`<p class="alert" role="alert">${this.failure.message} ${this.failure.fix}</p>` : nothing}
        <mg-field label="Replicas" kind="number" min="0" max="64" autofocus .value=${this.replicas || String(this.target.replicas)} help=${this.#what}
          @mg-input=${(event: CustomEvent<string>) => (this.replicas = event.detail)}></mg-field>
      </form>
      <mg-spoken .spoken=${{ cli: `modelgrid cluster scale ${quoted(this.target.name)} ${this.#chosen}`, method: 'PATCH', path: `targets/${this.target.name}`, body: { replicas: this.#chosen } } satisfies Spoken}></mg-spoken>
      <button slot="footer" type="button" class="btn" @click=${() => this.emit('mg-close', undefined)}>Cancel</button>
      <button slot="footer" type="button" class="btn primary" ?disabled=${this.#chosen === this.target.replicas} @click=${this.#submit}>Scale</button>
    </mg-dialog>`;
  }
}
