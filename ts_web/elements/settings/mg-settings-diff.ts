import { css, html, nothing } from 'lit';
import { customElement, property } from 'lit/decorators.js';
import { configSet, Variable, type Spoken } from '../../commands.ts';
import type { Schemas } from '../../data/client.ts';
import '../../kit/badge.ts';
import '../../kit/dialog.ts';
import { MgElement } from '../../kit/element.ts';
import '../../kit/spoken.ts';
import { isSecret, patchOf, variableOf } from './setting.ts';

/** What would change, before it does. Emits `mg-save` or `mg-close`. */
@customElement('mg-settings-diff')
export class MgSettingsDiff extends MgElement {
  static override styles = [
    MgElement.styles,
    css`
      mg-dialog { --dialog-width: 640px; }
      li { padding: 8px 0; border-top: 1px solid var(--hairline); }
      li:first-child { border-top: 0; }
      pre { margin: 4px 0 0; padding: 3px 8px; border-radius: 4px; font: 12px/17px var(--mono); white-space: pre-wrap; overflow-wrap: anywhere; }
      del, ins { text-decoration: none; }
      mg-spoken { margin-top: 12px; }
      .before { background: var(--critical-tint); }
      .after { background: var(--ok-tint); }
    `,
  ];

  @property({ attribute: false }) diff: readonly Schemas['ConfigChange'][] = [];
  /** What it would be a change of. */
  @property({ attribute: false }) file: Schemas['ConfigView'] | undefined;
  @property({ type: Boolean }) busy = false;

  #text(value: unknown): string {
    return value === null || value === undefined ? 'not set' : typeof value === 'string' ? value : JSON.stringify(value);
  }

  /** A secret is not among what the daemon says of a change: who runs the command has it. */
  get #spoken(): Spoken {
    const values = this.diff.map(({ path, after }): readonly [string, unknown] => [path, isSecret(path) && after ? new Variable(variableOf(path)) : (after ?? null)]);
    return { cli: values.map(([key, value]) => configSet(this.file, key, value)).join(' && \\\n'), method: 'PATCH', path: 'config', body: patchOf(new Map(values)) };
  }

  protected override render(): unknown {
    return html`<mg-dialog open heading="Save these settings?" @mg-close=${(event: Event) => (event.stopPropagation(), this.emit('mg-close', undefined))}>
      ${this.diff.length === 0 ? html`<p class="muted">Nothing would change.</p>` : nothing}
      <ul>
        ${this.diff.map(
          (change) => html`<li>
            <b>${change.path}</b> ${change.restart_required ? html`<mg-badge tone="warning">restart required</mg-badge>` : html`<mg-badge tone="ok">at once</mg-badge>`}
            <del><pre class="before">− ${this.#text(change.before)}</pre></del>
            <ins><pre class="after">+ ${this.#text(change.after)}</pre></ins>
          </li>`,
        )}
      </ul>
      ${this.diff.length ? html`<mg-spoken .spoken=${this.#spoken}></mg-spoken>` : nothing}
      <button slot="footer" type="button" class="btn" @click=${() => this.emit('mg-close', undefined)}>Cancel</button>
      <button slot="footer" type="button" class="btn primary" ?disabled=${this.busy || this.diff.length === 0} @click=${() => this.emit('mg-save', undefined)}>${this.busy ? 'Saving …' : 'Save'}</button>
    </mg-dialog>`;
  }
}
