import { css, html, nothing } from 'lit';
import { customElement, property, query } from 'lit/decorators.js';
import { live } from 'lit/directives/live.js';
import { MgElement } from './element.ts';

export type FieldKind = 'text' | 'password' | 'number' | 'search' | 'select' | 'textarea' | 'switch';

/**
 * A labelled input with help and the daemon's objection beside it. Emits `mg-input` with the new value while typing.
 * The value is a string (`'true'`/`'false'` of a switch).
 */
@customElement('mg-field')
export class MgField extends MgElement {
  static override shadowRootOptions = { ...MgElement.shadowRootOptions, delegatesFocus: true };
  static override styles = [
    MgElement.styles,
    css`
      :host { display: block; min-width: 0; }
      .field { display: grid; gap: 4px; }
      .field.switch { grid-template-columns: auto 1fr; align-items: center; column-gap: 8px; }
      .field.switch .help, .field.switch .error { grid-column: 2; }
      label { font-weight: 500; font-size: 13px; line-height: 20px; }
      .optional { color: var(--text-3); font-weight: 400; }
      .help { color: var(--text-2); font-size: 12px; line-height: 16px; overflow-wrap: anywhere; }
      .error { color: var(--critical); font-size: 12px; line-height: 16px; overflow-wrap: anywhere; }
      textarea { min-height: 72px; font: 12px/17px var(--mono); resize: vertical; }
    `,
  ];

  @property() label = '';
  @property() kind: FieldKind = 'text';
  @property() value = '';
  @property() help = '';
  @property() error = '';
  @property() placeholder = '';
  @property() autocomplete: AutoFill | '' = '';
  @property({ attribute: false }) options: readonly { readonly value: string; readonly label: string }[] = [];
  @property({ type: Boolean }) required = false;
  @property({ type: Boolean }) disabled = false;
  @property({ type: Boolean }) optional = false;
  @property({ type: Number }) min: number | undefined;
  @property({ type: Number }) max: number | undefined;
  @query('#input') private input!: HTMLElement;

  override focus(options?: FocusOptions): void {
    this.input.focus(options);
  }

  #changed(event: Event): void {
    const input = event.target as HTMLInputElement;
    this.value = this.kind === 'switch' ? String(input.checked) : input.value;
    this.emit('mg-input', this.value);
  }

  /** The input is in this element's own root, where Enter does not reach the form. */
  #key(event: KeyboardEvent): void {
    if (event.key === 'Enter') this.closest('form')?.requestSubmit();
  }

  #input(): unknown {
    const described = [this.help ? 'help' : '', this.error ? 'error' : ''].filter(Boolean).join(' ') || nothing;
    const invalid = this.error ? 'true' : nothing;
    if (this.kind === 'select') {
      return html`<select id="input" aria-describedby=${described} aria-invalid=${invalid} ?disabled=${this.disabled} @change=${this.#changed}>
        ${this.options.map((o) => html`<option value=${o.value} ?selected=${o.value === this.value}>${o.label}</option>`)}
      </select>`;
    }
    if (this.kind === 'textarea') {
      return html`<textarea id="input" spellcheck="false" placeholder=${this.placeholder} aria-describedby=${described}
        aria-invalid=${invalid} ?disabled=${this.disabled} .value=${live(this.value)} @input=${this.#changed}></textarea>`;
    }
    if (this.kind === 'switch') {
      return html`<input id="input" type="checkbox" role="switch" aria-describedby=${described} ?disabled=${this.disabled}
        .checked=${live(this.value === 'true')} @change=${this.#changed} />`;
    }
    return html`<input id="input" type=${this.kind} placeholder=${this.placeholder || nothing} spellcheck="false"
      autocomplete=${(this.autocomplete || 'off') as AutoFill} aria-describedby=${described} aria-invalid=${invalid}
      min=${this.min ?? nothing} max=${this.max ?? nothing} ?required=${this.required} ?disabled=${this.disabled}
      .value=${live(this.value)} @input=${this.#changed} @keydown=${this.#key} />`;
  }

  protected override render(): unknown {
    const label = html`<label for="input">${this.label}${this.optional ? html` <span class="optional">(optional)</span>` : nothing}</label>`;
    const below = html`${this.help ? html`<div class="help" id="help">${this.help}</div>` : nothing}
    ${this.error ? html`<div class="error" id="error">${this.error}</div>` : nothing}`;
    return this.kind === 'switch'
      ? html`<div class="field switch">${this.#input()}${label}${below}</div>`
      : html`<div class="field">${label}${this.#input()}${below}</div>`;
  }
}
