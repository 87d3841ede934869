import { css, html, nothing } from 'lit';
import { customElement, property, query, state } from 'lit/decorators.js';
import { MgElement } from './element.ts';
import { icon, type IconName } from './icons.ts';

export interface MenuItem {
  readonly label: string;
  readonly icon?: IconName;
  readonly run?: () => void;
  readonly href?: string;
  readonly danger?: boolean;
  /** Why it cannot be chosen now; shown below the label. */
  readonly refusal?: string;
  /** Small buttons beside it that copy what would do the same elsewhere. */
  readonly copies?: readonly MenuCopy[];
}

export interface MenuCopy {
  readonly label: string;
  readonly text: string;
  readonly run: () => void;
}

/** A button that opens a list of actions, on the native popover. Arrow keys move, Esc closes and gives focus back. */
@customElement('mg-menu')
export class MgMenu extends MgElement {
  static override styles = [
    MgElement.styles,
    css`
      :host { display: inline-block; }
      .icon-only .icon { stroke-width: 3; }
      [popover] {
        position: fixed;
        inset: auto;
        min-width: 180px;
        max-width: min(340px, calc(100vw - 16px));
        margin: 0;
        padding: 4px;
        border: 1px solid var(--control);
        border-radius: 8px;
        background: var(--s2);
        color: var(--text);
        box-shadow: var(--shadow);
      }
      .item {
        display: flex;
        align-items: center;
        gap: 8px;
        width: 100%;
        min-height: var(--row);
        padding: 4px 10px;
        border: 0;
        border-radius: 5px;
        background: none;
        color: var(--text);
        font: 13px/20px var(--font);
        text-align: left;
        text-decoration: none;
        cursor: pointer;
      }
      .item:hover:not(:disabled), .item:focus-visible { background: var(--s3); }
      .item:focus-visible { outline-offset: -2px; }
      .item:disabled { color: var(--text-3); cursor: default; }
      .item.danger:not(:disabled) { color: var(--critical); }
      .line { display: flex; align-items: stretch; gap: 2px; }
      .copy { flex: none; min-width: 30px; padding: 0 6px; border: 0; border-radius: 5px; background: none; color: var(--text-3); font: 11px/16px var(--mono); cursor: pointer; }
      .copy:is(:hover, :focus-visible) { background: var(--s3); color: var(--text); }
      .copy:focus-visible { outline-offset: -2px; }
      @media (pointer: coarse) { .copy { min-width: 44px; } }
      small { display: block; color: var(--text-3); font-size: 12px; line-height: 16px; white-space: normal; }
    `,
  ];

  @property({ attribute: false }) items: readonly MenuItem[] = [];
  @property() label = 'More actions';
  @property() icon: IconName = 'more';
  /** Show the label beside the icon. */
  @property({ type: Boolean }) worded = false;
  /** What is in it is made when it opens: a table has one for each row. */
  @state() private opened = false;
  @query('[popover]') private popup!: HTMLElement;
  @query('.opener') private opener!: HTMLButtonElement;

  async #toggled(event: ToggleEvent): Promise<void> {
    if (event.newState !== 'open') return;
    await this.updateComplete;
    const at = this.opener.getBoundingClientRect();
    const { offsetWidth: width, offsetHeight: height } = this.popup;
    const below = at.bottom + 4 + height <= window.innerHeight;
    this.popup.style.top = `${below ? at.bottom + 4 : Math.max(8, at.top - 4 - height)}px`;
    this.popup.style.left = `${Math.max(8, Math.min(at.right - width, window.innerWidth - width - 8))}px`;
    this.popup.querySelector<HTMLElement>('.item:not(:disabled)')?.focus();
  }

  #key(event: KeyboardEvent): void {
    const all = [...this.popup.querySelectorAll<HTMLElement>('.item:not(:disabled)')];
    const at = all.indexOf(this.shadowRoot?.activeElement as HTMLElement);
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step === undefined || all.length === 0) return;
    event.preventDefault();
    event.stopPropagation();
    all[(at + step + all.length) % all.length]?.focus();
  }

  #choose(item: Pick<MenuItem, 'run'>, event: Event): void {
    event.stopPropagation();
    this.popup.hidePopover();
    item.run?.();
  }

  protected override render(): unknown {
    return html`<button
        type="button"
        class="btn ghost opener ${this.worded ? '' : 'icon-only'}"
        popovertarget="popup"
        aria-haspopup="true"
        aria-label=${this.worded ? nothing : this.label}
        title=${this.worded ? nothing : this.label}
        @click=${(event: Event) => event.stopPropagation()}
      >
        ${icon(this.icon)}${this.worded ? this.label : nothing}
      </button>
      <div id="popup" popover @beforetoggle=${(event: ToggleEvent) => (this.opened = event.newState === 'open')} @toggle=${this.#toggled} @keydown=${this.#key}>
        ${(this.opened ? this.items : []).map((item) => {
          const inside = html`${item.icon ? icon(item.icon) : nothing}<span
              >${item.label}${item.refusal ? html`<small>${item.refusal}</small>` : nothing}</span
            >`;
          const kind = `item ${item.danger ? 'danger' : ''}`;
          const chooser = item.href && !item.refusal
            ? html`<a class=${kind} href=${item.href} @click=${() => this.popup.hidePopover()}>${inside}</a>`
            : html`<button type="button" class=${kind} ?disabled=${!!item.refusal} @click=${(e: Event) => this.#choose(item, e)}>
                ${inside}
              </button>`;
          return html`<div class="line">${chooser}${(item.copies ?? []).map(
            (copy) => html`<button type="button" class="copy" aria-label=${copy.label} title=${copy.label} @click=${(e: Event) => this.#choose(copy, e)}>${copy.text}</button>`,
          )}</div>`;
        })}
      </div>`;
  }
}
