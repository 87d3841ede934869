import { css, html, nothing } from 'lit';
import { customElement } from 'lit/decorators.js';
import { repeat } from 'lit/directives/repeat.js';
import { state } from '../../appstate.ts';
import { api, call, type Schemas } from '../../data/client.ts';
import { LiveCollection } from '../../data/live.ts';
import '../../kit/card.ts';
import '../../kit/copy.ts';
import { MgElement } from '../../kit/element.ts';
import { UNKNOWN } from '../../kit/format.ts';
import '../../kit/states.ts';
import '../../kit/status.ts';
import type { Kind } from '../../kit/status.ts';

type DriverReport = Schemas['DriverReport'];

const NAMES: Record<string, string> = { nvidia: 'NVIDIA', amd: 'AMD', intel: 'Intel' };

/** Drivers change when somebody installs one: read when the page is opened. */
class Drivers extends LiveCollection<DriverReport> {
  constructor() {
    super('nodes', (report) => report.vendor, () => call(api.GET('/v1/_ui/drivers')));
  }

  protected override apply(): void {
    // Heartbeats of nodes say nothing about drivers.
  }
}

/** GPUs ▸ Drivers: per vendor what is installed, what is wrong with it, and the command that walks through the rest. */
@customElement('mg-gpus-drivers')
export class MgGpusDrivers extends MgElement {
  static override styles = [
    MgElement.styles,
    css`
      :host { display: block; }
      .top { margin-bottom: 12px; }
      .cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(340px, 100%), 1fr)); gap: 16px; align-items: start; }
      dl { display: grid; grid-template-columns: minmax(120px, auto) 1fr; margin: 8px 0 12px; }
      dt, dd { padding: 5px 0; border-top: 1px solid var(--hairline); min-width: 0; }
      dt { padding-right: 16px; color: var(--text-2); }
      dd { overflow-wrap: anywhere; }
      li { margin-bottom: 8px; padding: 8px 12px; border: 1px solid var(--warning); border-radius: 6px; background: var(--warning-tint); overflow-wrap: anywhere; }
      li p { color: var(--text-2); }
    `,
  ];

  readonly #drivers = new Drivers();

  override connectedCallback(): void {
    super.connectedCallback();
    this.whileConnected(() => this.#drivers.hold());
  }

  #health(report: DriverReport): readonly [Kind, string] {
    if (report.simulated) return ['maintenance', 'Simulated'];
    if (!report.hardware_present) return ['idle', 'No such hardware'];
    if (!report.installed) return ['critical', 'No driver'];
    return report.issues?.length ? ['warning', 'Needs attention'] : ['ok', 'Installed'];
  }

  #card(report: DriverReport): unknown {
    const [kind, word] = this.#health(report);
    const yes = (value: boolean | null | undefined): string => (value == null ? UNKNOWN : value ? 'yes' : 'no');
    return html`<mg-card heading=${NAMES[report.vendor] ?? report.vendor}>
      <mg-status slot="actions" kind=${kind} word=${word}></mg-status>
      <dl>
        <dt>Hardware</dt><dd>${report.simulated ? 'simulated' : yes(report.hardware_present)}</dd>
        <dt>Driver</dt><dd>${report.version ?? (report.installed ? 'installed' : UNKNOWN)}</dd>
        <dt>Toolkit</dt><dd>${report.toolkit_version ?? UNKNOWN}</dd>
        <dt>For containers</dt><dd>${yes(report.container_toolkit)}</dd>
      </dl>
      ${report.issues?.length ? html`<ul>${report.issues.map((issue) => html`<li><b>${issue.message}</b><p>${issue.fix}</p></li>`)}</ul>` : nothing}
      ${report.hardware_present && !report.simulated
        ? html`<p class="muted">The installation asks before each step, so it runs in a terminal on that machine:</p>
            <mg-command text=${`sudo modelgrid gpu install --vendor ${report.vendor}`}></mg-command>`
        : nothing}
    </mg-card>`;
  }

  protected override render(): unknown {
    const reports = this.#drivers.items.value;
    return html`<h1 class="visually-hidden">GPU drivers</h1>
      <mg-state .source=${this.#drivers} rows="4">
        <p class="top muted">What is installed on ${state.overview.value?.node ?? 'this node'}. Other nodes say theirs in their own consoles, and with <code class="mono">modelgrid gpu drivers</code>.</p>
        <div class="cards">${repeat(reports, (report) => report.vendor, (report) => this.#card(report))}</div>
      </mg-state>`;
  }
}
