import { css, html } from 'lit';
import { customElement, property } from 'lit/decorators.js';
import { curl, type Spoken } from '../commands.ts';
import './copy.ts';
import { MgElement } from './element.ts';

/** What a dialog is about to do, as a command and as a call, closed until somebody wants it. */
@customElement('mg-spoken')
export class MgSpoken extends MgElement {
  static override styles = [
    MgElement.styles,
    css`
      :host { display: block; }
      summary { padding: 2px 0; color: var(--text-2); cursor: pointer; }
      mg-command { margin-top: 8px; }
    `,
  ];

  @property({ attribute: false }) spoken!: Spoken;

  protected override render(): unknown {
    return html`<details><summary>As a command</summary>
      <mg-command text=${this.spoken.cli}></mg-command>
      <mg-command label="call" text=${curl(this.spoken)}></mg-command>
    </details>`;
  }
}
