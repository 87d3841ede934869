import { css, html, svg, type TemplateResult } from 'lit';
import { customElement, property } from 'lit/decorators.js';
import { MgElement } from './element.ts';

/** What a status means to somebody who looks after the fleet. */
export type Kind = 'ok' | 'busy' | 'warning' | 'critical' | 'maintenance' | 'idle' | 'unknown';

const SHAPES: Record<Kind, TemplateResult> = {
  ok: svg`<circle cx="7" cy="7" r="5" fill="currentColor"/>`,
  busy: svg`<circle cx="7" cy="7" r="4.5" fill="none" stroke="currentColor" stroke-width="1.5"/><path d="M7 2.5a4.5 4.5 0 0 1 0 9Z" fill="currentColor"/>`,
  warning: svg`<path d="M7 1.2 13.2 12.4H.8Z" fill="currentColor"/>`,
  critical: svg`<path d="M4.2.8h5.6l3.4 3.4v5.6l-3.4 3.4H4.2L.8 9.8V4.2Z" fill="currentColor"/><path d="m4.8 4.8 4.4 4.4m0-4.4L4.8 9.2" stroke="var(--s1)" stroke-width="1.7"/>`,
  maintenance: svg`<path d="M7 1 13 7 7 13 1 7Z" fill="none" stroke="currentColor" stroke-width="1.6"/>`,
  idle: svg`<circle cx="7" cy="7" r="4.5" fill="none" stroke="currentColor" stroke-width="1.5"/>`,
  unknown: svg`<circle cx="7" cy="7" r="4.5" fill="none" stroke="currentColor" stroke-width="1.6" stroke-dasharray="2 2.2"/>`,
};

const KINDS: Record<string, Kind> = {
  // deployments
  pending: 'busy', pulling: 'busy', starting: 'busy', running: 'ok', restarting: 'warning', draining: 'maintenance',
  stopping: 'maintenance', stopped: 'idle', failed: 'critical',
  // nodes
  active: 'ok', cordoned: 'maintenance', ready: 'ok', suspect: 'warning', lost: 'critical',
  // keys
  expired: 'idle', revoked: 'idle',
  // the fleet
  healthy: 'ok', degraded: 'warning', down: 'critical', unknown: 'unknown',
  // log levels and severities
  error: 'critical', critical: 'critical', warning: 'warning', info: 'idle', debug: 'idle', ok: 'ok',
}; // prettier-ignore

/** The meaning of one of the daemon's state words. */
export function kindOf(state: string | null | undefined): Kind {
  return KINDS[(state ?? 'unknown').toLowerCase()] ?? 'unknown';
}

export function shape(kind: Kind): TemplateResult {
  return html`<svg class="shape is-${kind}" viewBox="0 0 14 14" aria-hidden="true">${SHAPES[kind]}</svg>`;
}

/** Of the shapes in an element: their size, and the colours of their kinds. */
export const shapeStyles = css`
  .shape { width: 13px; height: 13px; flex: none; }
  .is-ok { color: var(--ok); }
  .is-busy { color: var(--accent); }
  .is-warning { color: var(--warning); }
  .is-critical { color: var(--critical); }
  .is-maintenance { color: var(--maintenance); }
  .is-idle, .is-unknown { color: var(--idle); }
`;

/** Shape, word and colour of a state: `<mg-status state="running">`. `kind` overrides what the word means; `wrap` lets long words break. */
@customElement('mg-status')
export class MgStatus extends MgElement {
  static override styles = [
    MgElement.styles,
    shapeStyles,
    css`
      :host {
        display: inline-flex;
        align-items: center;
        gap: 6px;
        vertical-align: top;
        color: var(--text);
        font-weight: 400;
        white-space: nowrap;
      }
      :host([wrap]) { white-space: normal; overflow-wrap: anywhere; }
      :host([wrap]) span { min-width: 0; }
    `,
  ];

  @property() state = 'unknown';
  @property() kind: Kind | '' = '';
  /** Another word than the state itself. */
  @property() word = '';

  protected override render(): unknown {
    const word = this.word || this.state.charAt(0).toUpperCase() + this.state.slice(1);
    return html`${shape(this.kind || kindOf(this.state))}<span>${word}</span>`;
  }
}
