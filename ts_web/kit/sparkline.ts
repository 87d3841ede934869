import { css, html, nothing, svg } from 'lit';
import { customElement, property } from 'lit/decorators.js';
import { MgElement } from './element.ts';

export type Point = readonly [at: number, value: number | null];

/** A line without axes: shape, not numbers; the number stands beside it. Gaps stay gaps. */
@customElement('mg-sparkline')
export class MgSparkline extends MgElement {
  static override styles = [
    MgElement.styles,
    css`
      :host { display: block; height: 28px; color: var(--accent); }
      svg { display: block; width: 100%; height: 100%; overflow: visible; }
      path { fill: none; stroke: currentcolor; stroke-width: 1.5; stroke-linejoin: round; vector-effect: non-scaling-stroke; }
      .area { fill: currentcolor; fill-opacity: 0.1; stroke: none; }
      line { stroke: var(--hairline); vector-effect: non-scaling-stroke; }
    `,
  ];

  @property({ attribute: false }) points: readonly Point[] = [];
  /** What it shows, for screen readers. */
  @property() label = '';
  /** The top of the scale; without it the greatest value. */
  @property({ type: Number }) max: number | undefined;
  /** Unix seconds of both ends; without them those of the points. */
  @property({ type: Number }) from: number | undefined;
  @property({ type: Number }) to: number | undefined;

  protected override render(): unknown {
    const points = this.points;
    const from = this.from ?? points[0]?.[0] ?? 0;
    const to = this.to ?? points.at(-1)?.[0] ?? 1;
    const top = (this.max ?? Math.max(...points.map(([, v]) => v ?? 0))) || 1;
    const x = (at: number): string => (((at - from) / (to - from || 1)) * 100).toFixed(2);
    const y = (value: number): string => (27 - Math.min(1, value / top) * 25).toFixed(2);
    const runs: Point[][] = [];
    let run: Point[] = [];
    for (const point of points) {
      if (point[1] === null) {
        if (run.length) runs.push(run);
        run = [];
      } else if (point[0] >= from) run.push(point);
    }
    if (run.length) runs.push(run);
    const paths = runs.map((part) => {
      const line = part.map(([at, value], i) => `${i ? 'L' : 'M'}${x(at)} ${y(value ?? 0)}`).join('');
      const [first, last] = [part[0], part.at(-1)];
      if (!first || !last) return nothing;
      return svg`<path class="area" d="${line}L${x(last[0])} 28L${x(first[0])} 28Z"/><path d=${part.length === 1 ? `${line}h.6` : line} />`;
    });
    return html`<svg viewBox="0 0 100 28" preserveAspectRatio="none" role="img" aria-label=${this.label}>
      ${svg`<line x1="0" x2="100" y1="27.5" y2="27.5"/>`}${paths}
    </svg>`;
  }
}
