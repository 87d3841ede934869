import { css, html, nothing } from 'lit';
import { customElement, state as internal } from 'lit/decorators.js';
import { api, body } from '../../data/client.ts';
import { asFailure } from '../../data/failure.ts';
import { announce } from '../../kit/announce.ts';
import '../../kit/card.ts';
import { copyText } from '../../kit/clipboard.ts';
import '../../kit/copy.ts';
import { MgElement } from '../../kit/element.ts';
import { icon } from '../../kit/icons.ts';

const DASHBOARD = '/v1/_ui/metrics/dashboard';

/** Says that these charts are for a look, and hands out what Prometheus and Grafana need for more. */
@customElement('mg-monitoring')
export class MgMonitoring extends MgElement {
  static override styles = [
    MgElement.styles,
    css`
      .grid { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(420px, 100%), 1fr)); gap: 12px 24px; }
      p { margin-bottom: 8px; color: var(--text-2); max-width: 72ch; }
      h3 { margin: 0 0 4px; font-size: 13px; line-height: 20px; }
      .buttons { display: flex; flex-wrap: wrap; gap: 8px; }
      .problem { color: var(--critical); }
    `,
  ];

  @internal() private scrape = '';
  @internal() private problem = '';
  @internal() private copied = false;

  override connectedCallback(): void {
    super.connectedCallback();
    void this.#load();
  }

  async #load(): Promise<void> {
    try {
      this.scrape = await body(api.GET('/v1/_ui/metrics/scrape-config', { parseAs: 'text' }));
      this.problem = '';
    } catch (error) {
      this.problem = asFailure(error).message;
    }
  }

  async #copyDashboard(): Promise<void> {
    try {
      // Asked for within the click: browsers forget soon that there was one.
      const text = await body(api.GET(DASHBOARD, { parseAs: 'text' }));
      this.copied = await copyText(text as string);
      announce(this.copied ? 'Copied' : 'The browser refused to copy');
    } catch (error) {
      this.problem = asFailure(error).message;
    }
    setTimeout(() => (this.copied = false), 1500);
  }

  protected override render(): unknown {
    return html`<mg-card heading="For more than a look: Prometheus and Grafana">
      <p>These charts are kept for a day, by this daemon, for a look. Monitoring that has to last, alert or compare weeks belongs in
        Prometheus: one scrape of the gateway's <code class="mono">/metrics</code> has everything that is shown here, and more.</p>
      ${this.problem ? html`<p class="problem" role="alert">${this.problem}</p>` : nothing}
      <div class="grid">
        <div>
          <h3>Entry for <code class="mono">scrape_configs</code> in prometheus.yml</h3>
          ${this.scrape ? html`<mg-command .text=${this.scrape.trimEnd()} label="the scrape snippet"></mg-command>` : nothing}
        </div>
        <div>
          <h3>Grafana dashboard</h3>
          <p>Import it under Dashboards ▸ New ▸ Import, and choose the Prometheus data source.</p>
          <div class="buttons">
            <button type="button" class="btn" @click=${() => void this.#copyDashboard()}>${icon(this.copied ? 'check' : 'copy')} ${this.copied ? 'Copied' : 'Copy dashboard JSON'}</button>
            <a class="btn" href=${DASHBOARD} download="modelgrid-grafana.json">${icon('download')} Download</a>
          </div>
        </div>
      </div>
    </mg-card>`;
  }
}
