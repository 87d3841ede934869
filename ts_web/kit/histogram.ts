import { css, html, svg } from 'lit';
import { customElement, property } from 'lit/decorators.js';
import { MgElement } from './element.ts';
import { count, duration, plural } from './format.ts';

export interface Bucket {
  /** Upper bound in seconds; null for what is above the last. */
  readonly le: number | null;
  readonly count: number;
}

export interface Histogram {
  readonly buckets: readonly Bucket[];
  readonly count: number;
  readonly p50: number | null;
  readonly p95: number | null;
  readonly p99: number | null;
}

/** Return the buckets from the first to the last that holds something. */
export function occupied(buckets: readonly Bucket[]): readonly Bucket[] {
  const first = buckets.findIndex((bucket) => bucket.count > 0);
  const last = buckets.findLastIndex((bucket) => bucket.count > 0);
  return first < 0 ? [] : buckets.slice(first, last + 1);
}

/** How many took how long: a bar for each span of time, with its count in words beside it. */
@customElement('mg-histogram')
export class MgHistogram extends MgElement {
  static override styles = [
    MgElement.styles,
    css`
      :host { display: block; }
      p { margin-bottom: 6px; color: var(--text-2); font-size: 12px; }
      p b { color: var(--text); font-weight: 600; }
      dl { display: grid; grid-template-columns: auto 1fr auto; gap: 3px 10px; align-items: center; font-size: 12px; line-height: 14px; }
      dt { color: var(--text-2); text-align: right; white-space: nowrap; }
      dd { display: contents; }
      svg { display: block; width: 100%; height: 12px; border-radius: 2px; background: var(--s3); }
      rect { fill: var(--accent); }
      span { text-align: right; }
    `,
  ];

  @property({ attribute: false }) histogram!: Histogram;

  protected override render(): unknown {
    const { p50, p95, p99, count: many, buckets } = this.histogram;
    const shown = occupied(buckets);
    if (shown.length === 0) return html`<p>No request has ended in this time.</p>`;
    const most = Math.max(...shown.map((bucket) => bucket.count));
    return html`<p><b>${duration(p50)}</b> p50 · <b>${duration(p95)}</b> p95 · <b>${duration(p99)}</b> p99, of ${plural(many, 'request')}</p>
      <dl>
        ${shown.map(
          ({ le, count: inside }) => html`<dt>${le === null ? `over ${duration(buckets.at(-2)?.le)}` : `up to ${duration(le)}`}</dt>
            <dd><svg viewBox="0 0 100 12" preserveAspectRatio="none" aria-hidden="true">${svg`<rect width=${(inside / most) * 100} height="12"/>`}</svg><span>${count(inside)}</span></dd>`,
        )}
      </dl>`;
  }
}
