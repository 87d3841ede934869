import { css, html, nothing, render } from 'lit';
import { customElement, property, query, state } from 'lit/decorators.js';
import { MgElement } from './element.ts';
import { icon } from './icons.ts';

/**
 * A modal on the native `<dialog>`: traps focus, closes by Esc, gives focus back. Set `open`; listen to `mg-close`.
 * Slots: the content, and `footer` for buttons. What it holds stays alive while it is open, whatever the network does.
 */
@customElement('mg-dialog')
export class MgDialog extends MgElement {
  static override styles = [
    MgElement.styles,
    css`
      dialog {
        width: min(var(--dialog-width, 520px), calc(100vw - 24px));
        max-height: calc(100dvh - 24px);
        padding: 0;
        border: 1px solid var(--control);
        border-radius: 10px;
        background: var(--s1);
        color: var(--text);
        box-shadow: var(--shadow);
        overflow: hidden;
      }
      dialog[open] { display: flex; flex-direction: column; }
      dialog::backdrop { background: var(--backdrop); }
      .head { display: flex; align-items: center; gap: 8px; padding: 14px 12px 10px 20px; }
      h2 { flex: 1; font-size: 16px; line-height: 24px; }
      .body { padding: 2px 20px 16px; overflow: auto; outline: none; }
      .foot:not([hidden]) {
        display: flex;
        justify-content: flex-end;
        flex-wrap: wrap;
        gap: 8px;
        padding: 12px 20px;
        border-top: 1px solid var(--hairline);
      }
    `,
  ];

  @property({ type: Boolean }) open = false;
  @property() heading = '';
  @state() private hasFooter = false;
  @query('dialog') private dialog!: HTMLDialogElement;
  @query('.body') private body!: HTMLElement;

  protected override updated(): void {
    if (this.open && !this.dialog.open) {
      this.dialog.showModal();
      // Where nothing asks for the focus it is at the content, and not at what closes it.
      if (this.renderRoot.querySelector('.head button')?.matches(':focus')) this.body.focus();
    }
    if (!this.open && this.dialog.open) this.dialog.close();
  }

  #closed(): void {
    if (!this.open) return;
    this.open = false;
    this.emit('mg-close', undefined);
  }

  protected override render(): unknown {
    return html`<dialog aria-labelledby="heading" @close=${this.#closed}>
      <div class="head">
        <h2 id="heading">${this.heading}</h2>
        <button type="button" class="btn ghost icon-only" aria-label="Close" @click=${() => this.dialog.close()}>
          ${icon('close')}
        </button>
      </div>
      <div class="body" tabindex="-1"><slot></slot></div>
      <div class="foot" ?hidden=${!this.hasFooter}>
        <slot
          name="footer"
          @slotchange=${(event: Event) =>
            (this.hasFooter = (event.target as HTMLSlotElement).assignedElements().length > 0)}
        ></slot>
      </div>
    </dialog>`;
  }
}

export interface Question {
  readonly heading: string;
  /** What will happen, and to whom. */
  readonly text: string;
  /** The verb on the button. */
  readonly verb: string;
  /** The name that has to be typed; leave it out where a click is enough. */
  readonly name?: string;
  readonly danger?: boolean;
}

/** Ask before something that cannot be taken back. Resolves to whether to go on. */
export function confirm(question: Question): Promise<boolean> {
  return new Promise((resolve) => {
    const host = document.createElement('div');
    document.body.append(host);
    const finish = (answer: boolean): void => {
      render(nothing, host);
      host.remove();
      resolve(answer);
    };
    render(html`<mg-confirm .question=${question} @mg-answer=${(e: CustomEvent<boolean>) => finish(e.detail)}></mg-confirm>`, host);
  });
}

@customElement('mg-confirm')
export class MgConfirm extends MgElement {
  static override styles = [
    MgElement.styles,
    css`
      p { margin-bottom: 12px; overflow-wrap: anywhere; }
      label { display: grid; gap: 4px; }
      code { font: 12px/17px var(--mono); overflow-wrap: anywhere; }
    `,
  ];

  @property({ attribute: false }) question!: Question;
  @state() private typed = '';

  #submit(event: Event): void {
    event.preventDefault();
    if (this.#ready) this.emit('mg-answer', true);
  }

  get #ready(): boolean {
    return this.question.name === undefined || this.typed.trim() === this.question.name;
  }

  protected override render(): unknown {
    const { heading, text, verb, name, danger } = this.question;
    return html`<mg-dialog open heading=${heading} @mg-close=${() => this.emit('mg-answer', false)}>
      <form id="form" @submit=${this.#submit}>
        <p>${text}</p>
        ${name === undefined
          ? nothing
          : html`<label
              ><span>Type <code>${name}</code> to go on</span>
              <input
                autocomplete="off"
                spellcheck="false"
                autofocus
                @input=${(event: Event) => (this.typed = (event.target as HTMLInputElement).value)}
              />
            </label>`}
      </form>
      <button slot="footer" type="button" class="btn" ?autofocus=${name === undefined} @click=${() => this.emit('mg-answer', false)}>
        Cancel
      </button>
      <button
        slot="footer"
        type="button"
        class="btn ${danger === false ? 'primary' : 'danger'}"
        ?disabled=${!this.#ready}
        @click=${this.#submit}
      >
        ${verb}
      </button>
    </mg-dialog>`;
  }
}
