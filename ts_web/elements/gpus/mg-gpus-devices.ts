import { html, nothing } from 'lit';
import { customElement } from 'lit/decorators.js';
import { repeat } from 'lit/directives/repeat.js';
import { gpuKey, state, type GpuView } from '../../appstate.ts';
import '../../kit/copy.ts';
import { MgElement } from '../../kit/element.ts';
import { bytes, count, number, percent, plural, UNKNOWN } from '../../kit/format.ts';
import '../../kit/meter.ts';
import type { Part } from '../../kit/meter.ts';
import { matches } from '../../kit/search.ts';
import '../../kit/sparkline.ts';
import '../../kit/states.ts';
import '../../kit/status.ts';
import { healthOf } from './gpu-health.ts';
import { hrefWith, param } from '../../router.ts';
import '../overview/mg-gpu-map.ts';
import { gpuHistory } from './gpu-history.ts';
import { devicesStyles } from './mg-gpus-devices.css.ts';

/** Cards that are shown at once. */
const MOST = 40;

/** GPUs ▸ Devices: a card per GPU with its live reading, and whose memory is in use. */
@customElement('mg-gpus-devices')
export class MgGpusDevices extends MgElement {
  static override styles = [MgElement.styles, devicesStyles];

  override connectedCallback(): void {
    super.connectedCallback();
    for (const source of [state.gpus, state.nodes]) this.whileConnected(() => source.hold());
    this.whileConnected(() => gpuHistory.hold());
  }

  #memory(view: GpuView): unknown {
    const { gpu } = view;
    const ours = view.used_by_deployments_bytes;
    const others = view.used_by_others_bytes;
    if (ours == null || others == null) return this.#bar(view, [{ value: gpu.vram_used_bytes, tone: 'others', label: `${bytes(gpu.vram_used_bytes)} used` }], nothing);
    const parts: Part[] = [
      { value: ours, tone: 'ours', label: `${bytes(ours)} used by deployments` },
      { value: others, tone: 'others', label: `${bytes(others)} used by others` },
    ];
    const legend = html`
      ${ours ? html`<span class="ours">${bytes(ours)} deployments</span>` : nothing}
      ${others ? html`<span class="others">${bytes(others)} others</span>` : nothing}`;
    return this.#bar(view, parts, legend);
  }

  #bar({ gpu }: GpuView, parts: readonly Part[], legend: unknown): unknown {
    return html`<div class="memory">
      <div class="line">
        <span>Memory</span><b>${bytes(gpu.vram_free_bytes)} free</b><span class="faint">of ${bytes(gpu.vram_total_bytes)}</span>
      </div>
      <mg-meter .parts=${parts} .total=${gpu.vram_total_bytes} label=${`${bytes(gpu.vram_used_bytes)} of ${bytes(gpu.vram_total_bytes)} used`}></mg-meter>
      <div class="legend">
        ${legend}
      </div>
    </div>`;
  }

  #readings({ gpu }: GpuView): unknown {
    const limit = gpu.power_limit_watts ? ` / ${number(gpu.power_limit_watts)} W` : ' W';
    const facts: readonly (readonly [string, string])[] = [
      ['Temperature', gpu.temperature_celsius == null ? UNKNOWN : `${number(gpu.temperature_celsius)} °C`],
      ['Power', gpu.power_watts == null ? UNKNOWN : `${number(gpu.power_watts)}${limit}`],
      ['Core clock', gpu.clock_core_mhz == null ? UNKNOWN : `${count(gpu.clock_core_mhz)} MHz`],
      ['Memory clock', gpu.clock_memory_mhz == null ? UNKNOWN : `${count(gpu.clock_memory_mhz)} MHz`],
      ['ECC errors', gpu.ecc_enabled === false ? 'off' : count(gpu.ecc_uncorrected_errors)],
      ['Driver', gpu.driver_version?.replace(' (simulated)', '') ?? UNKNOWN],
      ['Compute', gpu.compute_capability ?? UNKNOWN],
      ['PCI', gpu.pci_address?.replace(/^0+:/, '').toLowerCase() ?? UNKNOWN],
      ...(gpu.throttle_reasons?.length ? [['Clocks held by', gpu.throttle_reasons.join(', ').replaceAll('_', ' ')] as const] : []),
      ...(gpu.xid_errors?.length ? [['XID since boot', gpu.xid_errors.join(', ')] as const] : []),
    ];
    return html`<dl>${facts.map(([name, value]) => html`<div><dt>${name}</dt><dd title=${value}>${value}</dd></div>`)}</dl>`;
  }

  #faults({ problem, stale, faults }: GpuView): unknown {
    const wrong = [...(stale ? [problem || 'The readings are old.'] : []), ...faults.map(({ what, impact }) => `It ${what}. ${impact}`)];
    const kind = faults[0]?.severity ?? 'warning';
    return wrong.length ? html`<ul class="faults ${kind}">${wrong.map((fault) => html`<li class="clamp">${fault}</li>`)}</ul>` : nothing;
  }

  /** Who holds memory on it; closed, as the names of deployments are below already. */
  #processes({ gpu }: GpuView): unknown {
    const all = gpu.processes ?? [];
    if (all.length === 0) return nothing;
    return html`<details><summary>${plural(all.length, 'process', 'processes')}</summary>
      <ul>${all.map((one) => html`<li><span>${one.name || UNKNOWN} <span class="faint">pid ${one.pid}</span></span><b>${bytes(one.used_bytes)}</b></li>`)}</ul></details>`;
  }

  get #grouped(): boolean {
    return state.nodes.items.value.length > 1;
  }

  /** The cards of one node below its name; those of the only node stand alone. */
  #node(node: string, gpus: readonly GpuView[]): unknown {
    const cards = html`<div class="cards">${repeat(gpus, gpuKey, (view) => this.#card(view))}</div>`;
    if (!this.#grouped) return cards;
    const sum = (of: (view: GpuView) => number): string => bytes(gpus.reduce((total, view) => total + of(view), 0));
    const liveness = state.nodes.get(node)?.liveness ?? 'unknown';
    return html`<section aria-label=${`GPUs of ${node}`}>
      <div class="node">
        <h2 class="clamp">${node}</h2>
        ${liveness === 'ready' ? nothing : html`<mg-status state=${liveness}></mg-status>`}
        <span class="faint">${plural(gpus.length, 'GPU')} · ${sum(({ gpu }) => gpu.vram_free_bytes)} of ${sum(({ gpu }) => gpu.vram_total_bytes)} free</span>
      </div>
      ${cards}
    </section>`;
  }

  #card(view: GpuView): unknown {
    const { gpu } = view;
    const [kind, word] = healthOf(view);
    return html`<article aria-label=${`${gpu.id} of ${view.node}`}>
      <header>
        ${this.#grouped ? html`<h3 class="clamp">${gpu.id}</h3>` : html`<h2 class="clamp">${gpu.id}</h2>`}
        <mg-status kind=${kind} word=${word}></mg-status>
      </header>
      <p class="name clamp" title=${gpu.uuid}>${gpu.name}${this.#grouped ? nothing : html` <span class="faint">· ${view.node}</span>`}</p>
      ${this.#faults(view)}
      <div class="use">
        <div class="line"><span>Utilisation</span><b>${percent(gpu.utilization_percent)}</b></div>
        <mg-sparkline .points=${gpuHistory.of(view)} max="100" label=${`Utilisation of ${gpu.id}, last 15 minutes`}></mg-sparkline>
      </div>
      ${this.#memory(view)} ${this.#readings(view)} ${this.#processes(view)}
      <footer>
        ${view.deployments.length
          ? view.deployments.map((id) => html`<a class="clamp" href=${`/deployments/active?open=${encodeURIComponent(id)}`}>${id}</a>`)
          : html`<span class="faint">${view.assigned_to ? `kept for ${view.assigned_to}` : 'no deployment'}</span>`}
      </footer>
    </article>`;
  }

  /** More than anybody reads as cards: a map, whose cells and nodes lead to their cards. */
  #many(gpus: readonly GpuView[]): unknown {
    const nodes = [...new Set(gpus.map((view) => view.node))];
    return html`<p class="nodes faint">Choose a GPU below, or all of one node: ${nodes.map((node) => html`<a href=${hrefWith({ q: `${node}/` })}>${node}</a> `)}</p>
      <mg-gpu-map .gpus=${gpus}></mg-gpu-map>`;
  }

  protected override render(): unknown {
    const all = state.gpus.items.value;
    const gpus = all.filter((view) => matches(param('q'), `${gpuKey(view)} ${view.gpu.name} ${view.deployments.join(' ')} ${healthOf(view)[1]}`));
    return html`<h1 class="visually-hidden">GPU devices</h1>
      ${all.length > 1
        ? html`<div class="bar">
            <mg-search label="GPUs"></mg-search>
            <span class="faint" role="status">${gpus.length === all.length ? plural(all.length, 'GPU') : `${count(gpus.length)} of ${plural(all.length, 'GPU')}`}</span>
          </div>`
        : nothing}
      <mg-state .source=${state.gpus} rows="6">
        ${all.length
          ? gpus.length > MOST
            ? this.#many(gpus)
            : repeat(Map.groupBy(gpus, (view) => view.node), ([node]) => node, ([node, own]) => this.#node(node, own))
          : html`<mg-empty heading="No GPU was found" icon="gpus">
              <p>The drivers page says what is installed. To try ModelGrid without a GPU, simulate some:</p>
              <mg-command text="modelgrid config set gpus.simulate 2"></mg-command>
            </mg-empty>`}
      </mg-state>`;
  }
}
