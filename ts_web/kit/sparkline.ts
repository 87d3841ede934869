import { css, html, svg } from 'lit';
import { customElement, property } from 'lit/decorators.js';
import { MgElement } from './element.ts';

export type Point = readonly [at: number, value: number | null];

/** The path of a line in a box of 100 by 28, and that of the area below it; a gap in the points is one in both. */
export function pathsOf(points: readonly Point[], from: number, to: number, top: number): readonly [line: string, area: string] {
  const x = (at: number): string => (((at - from) / (to - from || 1)) * 100).toFixed(1);
  let [line, area, begin, last] = ['', '', '', ''];
  const close = (): void => {
    if (begin === last && begin) line += 'h.6'; // a point alone is seen, too
    if (begin) area += `L${last} 28L${begin} 28Z`;
    begin = last = '';
  };
  for (const [at, value] of points) {
    if (value === null) close();
    else if (at >= from) {
      last = x(at);
      const step = `${begin ? 'L' : 'M'}${last} ${(27 - Math.min(1, value / top) * 25).toFixed(1)}`;
      line += step;
      area += step;
      begin ||= last;
    }
  }
  close();
  return [line, area];
}

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
    const [line, area] = pathsOf(points, from, to, top);
    return html`<svg viewBox="0 0 100 28" preserveAspectRatio="none" role="img" aria-label=${this.label}>
      ${svg`<line x1="0" x2="100" y1="27.5" y2="27.5"/><path class="area" d=${area}/><path d=${line} />`}
    </svg>`;
  }
}
