import { css, html, nothing, svg } from 'lit';
import { customElement, property } from 'lit/decorators.js';
import { MgElement } from './element.ts';

export interface Part {
  readonly value: number;
  readonly tone: 'ours' | 'others' | 'full' | 'warning' | 'critical' | 'ok';
  readonly label: string;
}

/** One bar of a whole in parts: memory used by us, by others, free. The label carries the numbers. */
@customElement('mg-meter')
export class MgMeter extends MgElement {
  static override styles = [
    MgElement.styles,
    css`
      :host { display: block; height: 8px; }
      svg { display: block; width: 100%; height: 100%; border-radius: 4px; background: var(--s3); }
      .ours { fill: var(--accent); }
      .others { fill: var(--idle); }
      .full { fill: var(--maintenance); }
      .warning { fill: var(--warning); }
      .critical { fill: var(--critical); }
      .ok { fill: var(--ok); }
    `,
  ];

  @property({ attribute: false }) parts: readonly Part[] = [];
  @property({ type: Number }) total = 1;
  @property() label = '';

  protected override render(): unknown {
    let at = 0;
    const bars = this.parts.map((part) => {
      const width = Math.max(0, Math.min(100 - at, (part.value / (this.total || 1)) * 100));
      const bar = width
        ? svg`<rect class=${part.tone} x=${at} width=${width} height="8"><title>${part.label}</title></rect>`
        : nothing;
      at += width;
      return bar;
    });
    return html`<svg viewBox="0 0 100 8" preserveAspectRatio="none" role="img" aria-label=${this.label}>${bars}</svg>`;
  }
}
