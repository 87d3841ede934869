import { css, html, nothing } from 'lit';
import { customElement } from 'lit/decorators.js';
import { latest, LiveSeries, quotient } from '../../data/series.ts';
import '../../kit/card.ts';
import { MgElement } from '../../kit/element.ts';
import { count, duration, number, ratio, UNKNOWN } from '../../kit/format.ts';
import '../../kit/sparkline.ts';
import type { Point } from '../../kit/sparkline.ts';
import '../../kit/states.ts';

const SECONDS = 15 * 60;
const STEP = 5;
/** A value that is older than this is none: rates come every second, times only with requests. */
const FRESH = 15;

const traffic = new LiveSeries(
  [
    'requests_per_second', 'errors_per_second', 'output_tokens_per_second', 'in_flight', 'queued',
    'latency_p50_seconds', 'latency_p95_seconds', 'latency_p99_seconds', 'ttft_p50_seconds', 'ttft_p95_seconds',
  ],
  SECONDS,
  STEP,
); // prettier-ignore

interface Vital {
  readonly name: string;
  readonly points: readonly Point[];
  readonly show: (value: number | null) => string;
  readonly unit?: string;
  readonly note?: string;
  /** The least top of the scale, so that noise near zero does not fill the line. */
  readonly top: number;
}

/** What goes through the gateways: the present in numbers, the last 15 minutes as lines. */
@customElement('mg-vitals')
export class MgVitals extends MgElement {
  static override styles = [
    MgElement.styles,
    css`
      mg-state { min-height: 92px; }
      .vitals { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 12px 24px; }
      .name { color: var(--text-2); font-size: 12px; line-height: 16px; }
      .value { font-size: 20px; line-height: 28px; font-weight: 600; white-space: nowrap; }
      small { color: var(--text-2); font-size: 12px; line-height: 1; font-weight: 400; }
      .note { min-height: 16px; margin-top: 4px; color: var(--text-3); font-size: 12px; line-height: 16px; white-space: nowrap; overflow: hidden; text-overflow: ellipsis; }
    `,
  ];

  override connectedCallback(): void {
    super.connectedCallback();
    this.whileConnected(() => traffic.hold());
  }

  #vitals(): readonly Vital[] {
    const points = (name: string): readonly Point[] => traffic.points(name);
    const now = (name: string): number | null => latest(points(name), FRESH);
    const queued = now('queued');
    return [
      {
        name: 'Requests', points: points('requests_per_second'), show: number, unit: '/s', top: 1,
        note: `${count(now('in_flight'))} in flight${queued ? `, ${count(queued)} waiting` : ''}`,
      },
      { name: 'Errors', points: quotient(points('errors_per_second'), points('requests_per_second')), show: ratio, top: 0.05, note: 'answered with 5xx' },
      {
        name: 'Latency p95', points: points('latency_p95_seconds'), show: duration, top: 0.1,
        note: `p50 ${duration(now('latency_p50_seconds'))} · p99 ${duration(now('latency_p99_seconds'))}`,
      },
      { name: 'First token p95', points: points('ttft_p95_seconds'), show: duration, top: 0.1, note: `p50 ${duration(now('ttft_p50_seconds'))}` },
      { name: 'Output', points: points('output_tokens_per_second'), show: number, unit: 'tokens/s', top: 10 },
    ]; // prettier-ignore
  }

  protected override render(): unknown {
    return html`<mg-card heading="Traffic" note="last 15 minutes">
      <mg-state .source=${traffic} rows="2">
        <div class="vitals">
          ${this.#vitals().map(({ name, points, show, unit, note, top }) => {
            const value = show(latest(points, FRESH));
            const to = points.at(-1)?.[0] ?? 0;
            return html`<div>
              <div class="name">${name}</div>
              <div class="value">${value}${unit && value !== UNKNOWN ? html` <small>${unit}</small>` : nothing}</div>
              <mg-sparkline
                .points=${points}
                .from=${to - SECONDS}
                .to=${to}
                .max=${Math.max(top, ...points.map(([, v]) => v ?? 0))}
                label=${`${name}, last 15 minutes: now ${value} ${unit ?? ''}`}
              ></mg-sparkline>
              <div class="note">${note ?? nothing}</div>
            </div>`;
          })}
        </div>
      </mg-state>
    </mg-card>`;
  }
}
