import { css, html, nothing } from 'lit';
import { customElement, property, state } from 'lit/decorators.js';
import { now } from './clock.ts';
import { MgElement } from './element.ts';
import { coarse } from './format.ts';
import { icon } from './icons.ts';

/** What a live source of data says of itself; `LiveCollection` and `LiveDocument` have this form. */
export interface Source {
  /** There is something to show, however old. */
  readonly loaded: boolean;
  /** Why the last load failed, in words; empty when it did not. */
  readonly problem: string;
  /** What to do about it; may be empty. */
  readonly fix: string;
  /** Nothing says that what is shown still holds. */
  readonly stale: boolean;
  /** Unix seconds of when what is shown was last known to hold; 0 before. */
  readonly confirmedAt: number;
  reload(): void;
}

/**
 * The states of a view around its content: loading (a skeleton after 150 ms), error (what failed, retry), stale (its
 * age, above the content). With `fill` the content is as high as the element. Give it `.source`; put the content in the default slot and show it whatever the state.
 */
@customElement('mg-state')
export class MgState extends MgElement {
  static override styles = [
    MgElement.styles,
    css`
      :host { display: block; min-width: 0; }
      :host([fill]), :host([fill]) .content { display: flex; flex-direction: column; min-height: 0; }
      :host([fill]) .content { flex: 1; }
      .skeleton { display: grid; gap: 8px; padding: 8px 0; }
      .skeleton i {
        height: 18px;
        border-radius: 4px;
        background: var(--s3);
        animation: breathe 1.6s ease-in-out infinite;
      }
      .skeleton i:nth-child(2) { width: 82%; }
      .skeleton i:nth-child(3) { width: 64%; }
      @keyframes breathe { 50% { opacity: 0.45; } }
      @media (prefers-reduced-motion: reduce) { .skeleton i { animation: none; } }
      .error {
        display: flex;
        flex-wrap: wrap;
        align-items: center;
        gap: 8px 12px;
        margin-bottom: 12px;
        padding: 10px 14px;
        border: 1px solid var(--critical);
        border-radius: 8px;
        background: var(--critical-tint);
      }
      .error p { flex: 1 1 260px; overflow-wrap: anywhere; }
      .old ::slotted(*) { filter: grayscale(1); }
      .stale {
        display: flex;
        align-items: center;
        gap: 8px;
        margin-bottom: 8px;
        padding: 4px 10px;
        border: 1px dashed var(--warning);
        border-radius: 6px;
        background: var(--warning-tint);
        color: var(--warning);
      }
    `,
  ];

  @property({ attribute: false }) source: Source | undefined;
  @property({ type: Number }) rows = 3;
  @state() private patient = true;

  override connectedCallback(): void {
    super.connectedCallback();
    this.whileConnected(() => {
      const timer = setTimeout(() => (this.patient = false), 150);
      return () => clearTimeout(timer);
    });
  }

  protected override render(): unknown {
    const source = this.source;
    if (!source) return html`<slot></slot>`;
    const error = source.problem
      ? html`<div class="error" role="alert">
          <p><b>${source.problem}</b>${source.fix ? html`<br />${source.fix}` : nothing}</p>
          <button type="button" class="btn" @click=${() => source.reload()}>${icon('refresh')} Try again</button>
        </div>`
      : nothing;
    if (!source.loaded) {
      if (source.problem) return error;
      if (this.patient) return nothing;
      return html`<div class="skeleton" role="status" aria-label="Loading">
        ${Array.from({ length: this.rows }, () => html`<i></i>`)}
      </div>`;
    }
    return html`${error}${source.stale && !source.problem
        ? html`<div class="stale">${icon('help')} Not live: last known ${coarse(now.value - source.confirmedAt)} ago.</div>`
        : nothing}<div class=${source.stale ? 'content old' : 'content'}><slot></slot></div>`;
  }
}

/** Nothing to show: says so, and holds in its slot the button or command that fills it. */
@customElement('mg-empty')
export class MgEmpty extends MgElement {
  static override styles = [
    MgElement.styles,
    css`
      :host { display: block; }
      div {
        display: grid;
        justify-items: center;
        gap: 10px;
        max-width: 560px;
        margin: 0 auto;
        padding: 40px 16px;
        text-align: center;
      }
      svg.icon { width: 32px; height: 32px; color: var(--text-3); stroke-width: 1.5; }
      h2 { font-size: 16px; line-height: 24px; }
      ::slotted(*) { max-width: 100%; color: var(--text-2); }
    `,
  ];

  @property() heading = '';
  @property() icon: Parameters<typeof icon>[0] = 'overview';

  protected override render(): unknown {
    return html`<div>${icon(this.icon)}<h2>${this.heading}</h2><slot></slot></div>`;
  }
}
