import { css, html } from 'lit';
import { customElement, property, query } from 'lit/decorators.js';
import { MgElement } from './element.ts';
import { icon } from './icons.ts';

/**
 * A panel at the right for one object: 560 px, the whole screen below 900. Not modal on wide screens, so that the list
 * beside it stays usable. Esc and the cross emit `mg-close`. Slots: `heading`, `actions`, `tabs`, and the content.
 */
@customElement('mg-drawer')
export class MgDrawer extends MgElement {
  static override styles = [
    MgElement.styles,
    css`
      aside {
        position: fixed;
        z-index: 10;
        inset: 0 0 0 auto;
        display: flex;
        flex-direction: column;
        width: min(var(--drawer-width, 560px), 100vw);
        border-left: 1px solid var(--control);
        background: var(--s1);
        box-shadow: var(--shadow);
        animation: in var(--motion);
      }
      @keyframes in { from { opacity: 0; transform: translateX(16px); } }
      @media (max-width: 900px) { aside { width: 100vw; border: 0; } }
      aside:focus-visible { outline: none; }
      header { display: flex; align-items: flex-start; gap: 8px; padding: 12px 12px 8px 20px; }
      .heading { flex: 1; min-width: 0; }
      .tabs { padding: 0 14px 8px; border-bottom: 1px solid var(--hairline); }
      .body { flex: 1; padding: 16px 20px; overflow: auto; min-height: 0; }
    `,
  ];

  @property() label = 'Details';
  @query('aside') private panel!: HTMLElement;
  #before: Element | null = null;

  override connectedCallback(): void {
    super.connectedCallback();
    this.#before = deepActive();
    this.whileConnected(() => {
      const onKey = (event: KeyboardEvent): void => {
        // What is open above it closes first; it may be in the shadow of another element.
        const above = document.querySelector('dialog[open]') ?? event.composedPath().find((node) => node instanceof HTMLDialogElement);
        if (event.key !== 'Escape' || event.defaultPrevented || above) return;
        event.preventDefault();
        this.emit('mg-close', undefined);
      };
      document.addEventListener('keydown', onKey);
      return () => document.removeEventListener('keydown', onKey);
    });
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback();
    if (this.#before instanceof HTMLElement && this.#before.isConnected) this.#before.focus({ preventScroll: true });
  }

  protected override firstUpdated(): void {
    this.panel.focus({ preventScroll: true });
  }

  protected override render(): unknown {
    return html`<aside aria-label=${this.label} tabindex="-1">
      <header>
        <div class="heading"><slot name="heading"></slot></div>
        <slot name="actions"></slot>
        <button type="button" class="btn ghost icon-only" aria-label="Close details" @click=${() => this.emit('mg-close', undefined)}>
          ${icon('close')}
        </button>
      </header>
      <div class="tabs"><slot name="tabs"></slot></div>
      <div class="body" tabindex="0" role="region" aria-label=${this.label}><slot></slot></div>
    </aside>`;
  }
}

/** The focused element, through shadow roots. */
export function deepActive(): Element | null {
  let active = document.activeElement;
  while (active?.shadowRoot?.activeElement) active = active.shadowRoot.activeElement;
  return active;
}
