import { css, html } from 'lit';
import { customElement, state } from 'lit/decorators.js';
import { checkSession, sessionState } from '../../data/session.ts';
import '../../kit/copy.ts';
import { MgElement } from '../../kit/element.ts';
import '../../kit/states.ts';

const AGAIN_MS = 5_000;

/** The daemon does not answer when the page opens: says so and tries again by itself. */
@customElement('mg-offline')
export class MgOffline extends MgElement {
  static override styles = [MgElement.styles, css`:host { display: grid; align-content: center; min-height: 100dvh; }`];

  @state() private busy = false;

  override connectedCallback(): void {
    super.connectedCallback();
    this.whileConnected(() => {
      const timer = setInterval(() => void this.#again(), AGAIN_MS);
      return () => clearInterval(timer);
    });
  }

  async #again(): Promise<void> {
    if (this.busy) return;
    this.busy = true;
    await checkSession();
    this.busy = sessionState.value !== 'offline';
  }

  protected override render(): unknown {
    return html`<main>
      <h1 class="visually-hidden">ModelGrid</h1>
      <mg-empty heading="The daemon does not answer" icon="cluster">
        <p>This page tries again every few seconds. On the daemon's machine, this says whether it runs:</p>
        <mg-command text="modelgrid service status"></mg-command>
        <button type="button" class="btn primary" ?disabled=${this.busy} @click=${this.#again}>Try now</button>
      </mg-empty>
    </main>`;
  }
}
