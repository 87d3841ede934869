import { css, html, nothing } from 'lit';
import { customElement } from 'lit/decorators.js';
import { checkSession, sessionState } from '../../data/session.ts';
import { assertive, polite } from '../../kit/announce.ts';
import { MgElement } from '../../kit/element.ts';
import '../../kit/toast.ts';
import { startRouter, view } from '../../router.ts';
import './mg-offline.ts';
import './mg-shell.ts';

/**
 * The whole console: login, first password, offline, or the shell with a view. When a session ends the login opens
 * above the shell, which stays as it is below: the URL, and whatever was typed.
 */
@customElement('mg-app')
export class MgApp extends MgElement {
  static override styles = [
    MgElement.styles,
    css`
      .live { position: fixed; inset: 0 auto auto 0; }
    `,
  ];

  override connectedCallback(): void {
    super.connectedCallback();
    this.whileConnected(startRouter);
    // The view's code comes while the daemon is asked who we are. Where it cannot be had, `mg-view` says so.
    view.value?.load().catch(() => undefined);
    void checkSession();
  }

  protected override render(): unknown {
    const now = sessionState.value;
    // Whoever is logged in already needs no login: it comes when it is needed.
    if (now === 'closed' || now === 'must-change' || now === 'expired') void import('./mg-login.ts');
    return html`<div class="visually-hidden live" aria-live="polite">${polite.value}</div>
      <div class="visually-hidden live" aria-live="assertive">${assertive.value}</div>
      ${now === 'open' || now === 'expired' ? html`<mg-shell ?inert=${now === 'expired'}></mg-shell>` : nothing}
      ${now === 'closed' || now === 'must-change' || now === 'expired' ? html`<mg-login></mg-login>` : nothing}
      ${now === 'offline' ? html`<mg-offline></mg-offline>` : nothing}
      <mg-toasts></mg-toasts>`;
  }
}
