import { css, html } from 'lit';
import { customElement, property } from 'lit/decorators.js';
import '../../kit/dialog.ts';
import { MgElement } from '../../kit/element.ts';
import { bind, enable, enabled, keysOf, type Shortcut } from '../../shortcuts.ts';

/** `?`: every key, to be bound anew or switched off. */
@customElement('mg-sheet')
export class MgSheet extends MgElement {
  static override styles = [
    MgElement.styles,
    css`
      ul { display: grid; gap: 4px; margin-top: 12px; }
      li { display: grid; grid-template-columns: 1fr 110px; align-items: center; gap: 12px; }
      li input { min-height: 28px; padding: 2px 8px; font: 12px/17px var(--mono); text-align: center; }
      .switch { display: flex; align-items: center; gap: 8px; min-height: 32px; }
      p { color: var(--text-2); }
    `,
  ];

  @property({ attribute: false }) shortcuts: readonly Shortcut[] = [];

  protected override render(): unknown {
    return html`<mg-dialog open heading="Keyboard shortcuts" @mg-close=${() => this.emit('mg-close', undefined)}>
      <label class="switch">
        <input type="checkbox" .checked=${enabled.value} @change=${(e: Event) => enable((e.target as HTMLInputElement).checked)} />
        Use keys without Ctrl
      </label>
      <p>Type other keys into a field to bind them anew: <kbd>g o</kbd> is one after the other. Empty takes the default back.</p>
      <ul>
        ${this.shortcuts.map(
          (one) =>
            html`<li>
              <label for=${one.name}>${one.label}</label>
              <input id=${one.name} autocomplete="off" spellcheck="false" placeholder=${one.keys} ?disabled=${!enabled.value}
                .value=${keysOf(one)} @change=${(e: Event) => bind(one, (e.target as HTMLInputElement).value)} />
            </li>`,
        )}
        <li><span>Open the row with the focus</span><span class="number"><kbd>Enter</kbd></span></li>
        <li><span>Close what is open</span><span class="number"><kbd>Esc</kbd></span></li>
      </ul>
    </mg-dialog>`;
  }
}
