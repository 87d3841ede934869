import { css, html, nothing, type PropertyValues } from 'lit';
import { customElement, property } from 'lit/decorators.js';
import { theme } from '../../appstate.ts';
import { api, call, type Schemas } from '../../data/client.ts';
import { LiveDocument } from '../../data/live.ts';
import { LiveSeries } from '../../data/series.ts';
import '../../kit/chart/mg-chart.ts';
import type { Line } from '../../kit/chart/lines.ts';
import { now } from '../../kit/clock.ts';
import { MgElement } from '../../kit/element.ts';
import { bytes, coarse, count, digits, number, ratio, UNKNOWN } from '../../kit/format.ts';
import '../../kit/histogram.ts';
import '../../kit/states.ts';

type Metrics = Schemas['DeploymentMetrics'];

const SECONDS = 900;
const STEP = 5;
const GIB = 2 ** 30;
const TOKENS = ['deployment_output_tokens_per_second', 'deployment_input_tokens_per_second'] as const;
const VRAM = 'deployment_vram_used_bytes';

const perSecond = (value: number | null): string => (value === null ? UNKNOWN : `${number(value)} /s`);

/** What one deployment does at present, how long its requests take, and its last 15 minutes. */
@customElement('mg-deployment-metrics')
export class MgDeploymentMetrics extends MgElement {
  static override styles = [
    MgElement.styles,
    css`
      :host { display: grid; gap: 20px; }
      .now { display: grid; grid-template-columns: repeat(auto-fill, minmax(112px, 1fr)); gap: 10px 16px; }
      dt { color: var(--text-2); font-size: 12px; line-height: 16px; }
      dd { font-size: 16px; line-height: 24px; font-weight: 600; white-space: nowrap; }
      small { color: var(--text-2); font-size: 12px; font-weight: 400; }
      h2 { margin-bottom: 6px; }
      .problem { padding: 6px 12px; border: 1px solid var(--warning); border-radius: 6px; background: var(--warning-tint); overflow-wrap: anywhere; }
      .charts { display: grid; gap: 12px; }
    `,
  ];

  @property() deployment = '';
  #present!: LiveDocument<Metrics>;
  #series!: LiveSeries;
  #letGo: (() => void)[] = [];

  override connectedCallback(): void {
    super.connectedCallback();
    this.whileConnected(() => () => this.#release());
    if (this.hasUpdated) this.#open();
  }

  #release(): void {
    for (const release of this.#letGo.splice(0)) release();
  }

  #open(): void {
    this.#release();
    const { deployment } = this;
    this.#present = new LiveDocument<Metrics>(
      `deployment:${deployment}`,
      () => call(api.GET('/v1/_ui/deployments/{deployment}/metrics', { params: { path: { deployment } } })),
      'metrics',
    );
    this.#series = new LiveSeries([...TOKENS, VRAM], SECONDS, STEP, { labels: { deployment } });
    this.#letGo = [this.#present.hold(), this.#series.hold()];
  }

  protected override willUpdate(changed: PropertyValues): void {
    if (changed.has('deployment')) this.#open();
  }

  #facts(one: Metrics): readonly (readonly [string, string, string])[] {
    const queue = (value: number | null): string => (value === null ? UNKNOWN : count(value));
    const vram = one.vram_used_bytes !== null && one.vram_total_bytes ? [digits(one.vram_used_bytes / GIB), `of ${bytes(one.vram_total_bytes)}`] as const : [UNKNOWN, ''] as const;
    return [
      ['Requests', number(one.requests_per_second), '/s'],
      ['Errors', number(one.errors_per_second), '/s'],
      ['In flight', count(one.in_flight), ''],
      ['In its batch', queue(one.running), ''],
      ['In its queue', queue(one.waiting), ''],
      ['KV cache in use', ratio(one.kv_cache_ratio), ''],
      ['Tokens generated', number(one.output_tokens_per_second), one.output_tokens_per_second === null ? '' : '/s'],
      ['VRAM', ...vram],
    ];
  }

  #lines(labels: Readonly<Record<string, string>>): readonly Line[] {
    return Object.entries(labels).map(([name, label]) => ({ label, points: this.#series.points(name) }));
  }

  #charts(): unknown {
    const to = Math.max(this.#series.confirmedAt, now.peek() - 60);
    const about = { from: to - SECONDS, to };
    return html`<div class="charts">
      <mg-chart heading="Token throughput" note="last 15 minutes" .lines=${this.#lines({ [TOKENS[0]]: 'generated', [TOKENS[1]]: 'read' })} .show=${perSecond} .top=${10}
        .from=${about.from} .to=${about.to} group="deployment" theme=${theme.value}></mg-chart>
      <mg-chart heading="VRAM occupancy" note="of its GPUs, last 15 minutes" .lines=${this.#lines({ [VRAM]: 'in use' })} .show=${bytes} .top=${this.#present.value?.vram_total_bytes ?? GIB} binary
        .from=${about.from} .to=${about.to} group="deployment" theme=${theme.value}></mg-chart>
    </div>`;
  }

  protected override render(): unknown {
    const one = this.#present.value;
    return html`<mg-state .source=${this.#present} rows="8">${one
        ? html`${one.engine_problem ? html`<p class="problem">Its engine's own figures are not known: ${one.engine_problem}</p>` : nothing}
            <dl class="now">${this.#facts(one).map(([name, value, unit]) => html`<div><dt>${name}</dt><dd>${value}${unit ? html` <small>${unit}</small>` : nothing}</dd></div>`)}</dl>`
        : nothing}</mg-state>
      ${one
        ? html`<section aria-label="Latency"><h2>Latency, last ${coarse(one.window_seconds)}</h2><mg-histogram .histogram=${one.latency}></mg-histogram></section>
            <section aria-label="Time to first token"><h2>Time to first token, last ${coarse(one.window_seconds)}</h2><mg-histogram .histogram=${one.time_to_first_token}></mg-histogram></section>`
        : nothing}
      <mg-state .source=${this.#series} rows="4">${this.#charts()}</mg-state>`;
  }
}
