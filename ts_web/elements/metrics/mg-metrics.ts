import { css, html, nothing, type PropertyValues } from 'lit';
import { customElement } from 'lit/decorators.js';
import { state, theme } from '../../appstate.ts';
import { LiveSeries } from '../../data/series.ts';
import '../../kit/chart/mg-chart.ts';
import { daemonTime, now } from '../../kit/clock.ts';
import { MgElement } from '../../kit/element.ts';
import { absolute } from '../../kit/format.ts';
import { icon } from '../../kit/icons.ts';
import '../../kit/states.ts';
import { hrefWith, param, setParams } from '../../router.ts';
import { CHARTS, namesOf } from './charts.ts';
import './mg-monitoring.ts';
import { RANGES, spanOfAddress } from './span.ts';

/** Metrics: the last day in six charts, and where monitoring belongs that has to last. */
@customElement('mg-metrics')
export class MgMetrics extends MgElement {
  static override styles = [
    MgElement.styles,
    css`
      .bar { display: flex; flex-wrap: wrap; align-items: center; gap: 8px 12px; margin-bottom: 12px; }
      .ranges { display: flex; gap: 4px; }
      .ranges a { padding: 3px 10px; border: 1px solid var(--hairline); border-radius: 999px; color: var(--text-2); font-size: 12px; line-height: 18px; text-decoration: none; }
      .ranges a:hover { color: var(--text); background: var(--s2); }
      .ranges a[aria-current] { border-color: var(--control); background: var(--s3); color: var(--text); font-weight: 600; }
      select { width: auto; max-width: 300px; min-height: 28px; padding: 3px 8px; font-size: 13px; }
      .part { color: var(--text-2); font-size: 12px; }
      .charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(420px, 100%), 1fr)); gap: 12px; margin-bottom: 12px; }
      @media (pointer: coarse) { .ranges a { padding: 12px; } select { min-height: 44px; } }
    `,
  ];

  #series!: LiveSeries;
  #release: (() => void) | undefined;
  #key: string | undefined;

  override connectedCallback(): void {
    super.connectedCallback();
    this.whileConnected(() => state.deployments.hold());
    this.whileConnected(() => () => {
      this.#release?.();
      this.#key = undefined;
    });
  }

  protected override willUpdate(_: PropertyValues): void {
    const { seconds, step, until } = spanOfAddress();
    const model = param('model');
    const key = `${model}\n${seconds} ${until}`;
    if (key === this.#key) return;
    this.#key = key;
    const only = { ...(model ? { labels: { model } } : {}), ...(until === undefined ? {} : { until }) };
    this.#series = new LiveSeries(namesOf(model), seconds, step, only);
    const release = this.#release;
    this.#release = this.#series.hold();
    release?.();
  }

  #bar(): unknown {
    const span = spanOfAddress();
    const model = param('model');
    const models = new Set(state.deployments.items.value.map((one) => one.model));
    if (model) models.add(model);
    return html`<div class="bar">
      <nav class="ranges" aria-label="Time">
        ${RANGES.map(([name, words]) => html`<a href=${hrefWith({ range: name === '15m' ? null : name, from: null, to: null })} aria-current=${name === span.name ? 'true' : nothing}>${words}</a>`)}
      </nav>
      ${span.until
        ? html`<span class="part">${absolute(span.until - span.seconds)} to ${absolute(span.until)}</span>
            <a class="btn ghost" href=${hrefWith({ from: null, to: null })}>${icon('play')} Back to now</a>`
        : nothing}
      <select aria-label="Model" @change=${(event: Event) => setParams({ model: (event.target as HTMLSelectElement).value })}>
        <option value="" ?selected=${!model}>all models</option>
        ${[...models].sort().map((one) => html`<option value=${one} ?selected=${one === model}>${one}</option>`)}
      </select>
    </div>`;
  }

  #zoom(event: CustomEvent<{ from: number; to: number }>): void {
    const { from, to } = event.detail;
    setParams({ from: Math.floor(from), to: Math.ceil(Math.min(to, daemonTime())) });
  }

  protected override render(): unknown {
    const series = this.#series;
    const items = series.items.value;
    const { seconds, until } = spanOfAddress();
    const model = param('model');
    const to = until ?? Math.max(series.confirmedAt, now.peek() - 60);
    return html`<h1 class="visually-hidden">Metrics</h1>
      ${this.#bar()}
      <mg-state .source=${series} rows="8">
        <div class="charts" @mg-zoom=${this.#zoom}>
          ${CHARTS.map((chart) => html`<mg-chart heading=${chart.heading} note=${chart.note} .lines=${chart.lines(items, model)} .show=${chart.show} .top=${chart.top} ?binary=${chart.binary ?? false}
            .from=${to - seconds} .to=${to} group="metrics" theme=${theme.value}></mg-chart>`)}
        </div>
      </mg-state>
      <mg-monitoring></mg-monitoring>`;
  }
}
