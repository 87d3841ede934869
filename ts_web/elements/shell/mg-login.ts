import { css, html, nothing } from 'lit';
import { customElement, query, state } from 'lit/decorators.js';
import { changePassword, login, session, sessionState } from '../../data/session.ts';
import type { Failure } from '../../data/failure.ts';
import { announce } from '../../kit/announce.ts';
import '../../kit/copy.ts';
import { MgElement } from '../../kit/element.ts';
import '../../kit/field.ts';
import { brand } from './brand.ts';

/** The login, and the first password. It covers the page; what is below keeps its state. */
@customElement('mg-login')
export class MgLogin extends MgElement {
  static override styles = [
    MgElement.styles,
    css`
      dialog {
        display: grid;
        place-items: center;
        width: 100vw;
        height: 100dvh;
        max-width: none;
        max-height: none;
        margin: 0;
        padding: 16px;
        border: 0;
        background: var(--bg);
        color: var(--text);
        overflow: auto;
      }
      main { width: min(380px, 100%); }
      .brand { display: flex; align-items: center; gap: 10px; margin-bottom: 20px; font-size: 16px; line-height: 24px; font-weight: 600; }
      .brand svg { width: 28px; height: 28px; }
      form { display: grid; gap: 14px; padding: 24px; border: 1px solid var(--hairline); border-radius: 10px; background: var(--s1); }
      h1 { font-size: 20px; line-height: 28px; font-weight: 600; }
      .btn { min-height: 36px; }
      .alert { padding: 8px 12px; border: 1px solid var(--critical); border-radius: 6px; background: var(--critical-tint); overflow-wrap: anywhere; }
      details { margin-top: 16px; color: var(--text-2); }
      summary { cursor: pointer; padding: 4px 0; }
      details p { margin: 4px 0 8px; }
    `,
  ];

  @state() private user = 'admin';
  @state() private password = '';
  @state() private fresh = '';
  @state() private again = '';
  @state() private busy = false;
  @state() private failure: Failure | null = null;
  @query('dialog') private dialog!: HTMLDialogElement;

  protected override firstUpdated(): void {
    this.dialog.showModal();
    void this.#focus('[kind=password]');
  }

  /** Fields have their input a moment later than they are there. */
  async #focus(which: string): Promise<void> {
    const field = this.renderRoot.querySelector<MgElement>(`mg-field${which}`);
    await field?.updateComplete;
    field?.focus();
  }

  get #mustChange(): boolean {
    return sessionState.value === 'must-change';
  }

  async #submit(event: Event): Promise<void> {
    event.preventDefault();
    if (this.busy) return;
    this.busy = true;
    this.failure = this.#mustChange ? await changePassword(this.password, this.fresh) : await login(this.user, this.password);
    this.busy = false;
    if (this.failure) announce(this.failure.message, 'assertive');
    else if (this.#mustChange) {
      await this.updateComplete;
      await this.#focus('[data-first]');
    }
  }

  #loginForm(): unknown {
    return html`<h1>Log in</h1>
      ${sessionState.value === 'expired' ? html`<p class="muted">The session has ended. Log in to go on where you were.</p>` : nothing}
      ${this.#alert()}
      <mg-field label="User" autocomplete="username" .value=${this.user} @mg-input=${(e: CustomEvent<string>) => (this.user = e.detail)}></mg-field>
      <mg-field
        label="Password"
        kind="password"
        autocomplete="current-password"
        .value=${this.password}
        @mg-input=${(e: CustomEvent<string>) => (this.password = e.detail)}
      ></mg-field>
      <button class="btn primary" ?disabled=${this.busy}>${this.busy ? 'Checking …' : 'Log in'}</button>`;
  }

  #changeForm(): unknown {
    const differs = this.again !== '' && this.again !== this.fresh;
    return html`<h1>Choose a password</h1>
      <p class="muted">The one-time password has done its work. Choose your own, of at least 12 characters.</p>
      ${this.#alert()}
      <input type="text" autocomplete="username" hidden aria-hidden="true" .value=${session.value?.user ?? this.user} />
      <mg-field
        label="One-time password"
        kind="password"
        autocomplete="current-password"
        ?hidden=${this.password !== '' && !this.failure}
        .value=${this.password}
        @mg-input=${(e: CustomEvent<string>) => (this.password = e.detail)}
      ></mg-field>
      <mg-field
        data-first
        label="New password"
        kind="password"
        autocomplete="new-password"
        .value=${this.fresh}
        @mg-input=${(e: CustomEvent<string>) => (this.fresh = e.detail)}
      ></mg-field>
      <mg-field
        label="New password again"
        kind="password"
        autocomplete="new-password"
        error=${differs ? 'This is not the same.' : ''}
        .value=${this.again}
        @mg-input=${(e: CustomEvent<string>) => (this.again = e.detail)}
      ></mg-field>
      <button class="btn primary" ?disabled=${this.busy || this.fresh === '' || this.fresh !== this.again}>
        ${this.busy ? 'Saving …' : 'Save and go on'}
      </button>`;
  }

  #alert(): unknown {
    if (!this.failure) return nothing;
    return html`<p class="alert" role="alert">${this.failure.message} ${this.failure.fix}</p>`;
  }

  protected override render(): unknown {
    return html`<dialog aria-label=${this.#mustChange ? 'Choose a password' : 'Log in'} @cancel=${(event: Event) => event.preventDefault()}>
      <main>
        <div class="brand">${brand()} ModelGrid</div>
        <form @submit=${this.#submit}>${this.#mustChange ? this.#changeForm() : this.#loginForm()}</form>
        ${this.#mustChange
          ? nothing
          : html`<details>
              <summary>Where is the password?</summary>
              <p>The first start printed a one-time password for <b>admin</b>; the file initial-password in the state directory has it, and
                so has the journal:</p>
              <mg-command text="journalctl -u modelgrid | grep -i password"></mg-command>
              <p>Lost it? Set a new one on the daemon's machine:</p>
              <mg-command text="modelgrid config user passwd admin"></mg-command>
            </details>`}
      </main>
    </dialog>`;
  }
}
