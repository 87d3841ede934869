import { css, html } from 'lit';
import { customElement, property, query } from 'lit/decorators.js';
import { MgElement } from './element.ts';
import { icon } from './icons.ts';
import type { Column } from './table-order.ts';

/** The button beside a table that opens the choice of its columns. Emits `mg-hide` with the ids that are hidden now. */
@customElement('mg-table-columns')
export class MgTableColumns extends MgElement {
  static override styles = [
    MgElement.styles,
    css`
      [popover] {
        position: fixed;
        inset: auto;
        margin: 0;
        padding: 8px 12px;
        border: 1px solid var(--control);
        border-radius: 8px;
        background: var(--s2);
        color: var(--text);
        box-shadow: var(--shadow);
      }
      label { display: flex; align-items: center; gap: 8px; min-height: 28px; }
    `,
  ];

  @property({ attribute: false }) columns: readonly Pick<Column<unknown>, 'id' | 'label'>[] = [];
  @property({ attribute: false }) unseen: ReadonlySet<string> = new Set();
  @query('[popover]') private popup!: HTMLElement;

  #choose(id: string, shown: boolean): void {
    const next = new Set(this.unseen);
    if (shown) next.delete(id);
    else next.add(id);
    this.emit('mg-hide', next);
  }

  #placed(event: ToggleEvent): void {
    if (event.newState !== 'open') return;
    const at = this.getBoundingClientRect();
    this.popup.style.top = `${at.bottom + 4}px`;
    this.popup.style.left = `${Math.max(8, at.right - this.popup.offsetWidth)}px`;
  }

  protected override render(): unknown {
    return html`<button type="button" class="btn ghost icon-only" popovertarget="columns" aria-label="Choose columns" title="Choose columns">${icon('columns')}</button>
      <div id="columns" popover @toggle=${this.#placed}>
        ${this.columns.map(
          ({ id, label }) =>
            html`<label><input type="checkbox" .checked=${!this.unseen.has(id)} @change=${(e: Event) => this.#choose(id, (e.target as HTMLInputElement).checked)} />${label}</label>`,
        )}
      </div>`;
  }
}
