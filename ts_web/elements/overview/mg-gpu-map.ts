import { css, html, nothing } from 'lit';
import { customElement, property } from 'lit/decorators.js';
import { repeat } from 'lit/directives/repeat.js';
import { gpuKey, state, type GpuView } from '../../appstate.ts';
import { MgElement } from '../../kit/element.ts';
import { bytes, number, percent } from '../../kit/format.ts';
import '../../kit/meter.ts';
import '../../kit/sparkline.ts';
import { shape } from '../../kit/status.ts';
import { gpuHistory } from '../gpus/gpu-history.ts';
import { healthOf } from '../gpus/gpu-health.ts';

/** Node × GPU: one cell per device with its use, its last minutes, and a bar of its memory. */
@customElement('mg-gpu-map')
export class MgGpuMap extends MgElement {
  static override styles = [
    MgElement.styles,
    css`
      :host { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(560px, 100%), 1fr)); gap: 0 24px; container-type: inline-size; }
      .node { display: grid; grid-template-columns: minmax(80px, 112px) 1fr; align-items: center; gap: 8px; padding: 3px 0; }
      .name { min-width: 0; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; color: var(--text); }
      .name small { color: var(--text-3); font-size: 12px; }
      .cells { display: grid; grid-template-columns: repeat(auto-fill, minmax(76px, 1fr)); gap: 4px; }
      .cells.few { grid-template-columns: repeat(4, minmax(76px, 1fr)); }
      .low mg-sparkline { color: var(--idle); }
      .high mg-sparkline { color: var(--maintenance); }
      a { position: relative; display: block; height: 44px; padding: 4px 8px; border: 1px solid var(--hairline); border-radius: 5px; background: var(--s2); color: var(--text); text-decoration: none; overflow: hidden; }
      a:hover { border-color: var(--control); }
      .line { position: relative; display: flex; align-items: center; gap: 4px; font-size: 12px; line-height: 16px; white-space: nowrap; }
      .line b { margin-left: auto; font-weight: 600; }
      .id { color: var(--text-2); overflow: hidden; text-overflow: ellipsis; }
      .shape { width: 10px; height: 10px; flex: none; }
      mg-sparkline { position: absolute; inset: auto 0 4px 0; height: 18px; opacity: 0.8; }
      mg-meter { position: absolute; inset: auto 0 0 0; height: 4px; border-radius: 0; }
      .critical { border: 2px solid var(--critical); background: var(--critical-tint); }
      .warning { border: 2px dashed var(--warning); background: var(--warning-tint); }
      .unknown { border-style: dashed; border-color: var(--control); }
      .critical .shape { color: var(--critical); }
      .warning .shape { color: var(--warning); }
      .unknown .shape { color: var(--idle); }
      @container (max-width: 460px) { .node { grid-template-columns: 1fr; gap: 2px; padding: 6px 0; } }
    `,
  ];

  /** Those to be shown; without it all that there are. */
  @property({ attribute: false }) gpus: readonly GpuView[] | undefined;

  override connectedCallback(): void {
    super.connectedCallback();
    this.whileConnected(() => gpuHistory.hold());
  }

  #cell(view: GpuView, label: string): unknown {
    const { gpu } = view;
    const [kind, word] = healthOf(view);
    const full = gpu.vram_total_bytes ? gpu.vram_used_bytes / gpu.vram_total_bytes : 0;
    const bad = kind === 'critical' || kind === 'warning' || kind === 'unknown';
    const pressure = full < 0.5 ? 'low' : full < 0.9 ? '' : 'high';
    const hot = kind === 'warning' && gpu.temperature_celsius != null ? `${number(gpu.temperature_celsius)} °C` : percent(gpu.utilization_percent);
    const said = `${gpu.id} of ${view.node}: ${word}, ${bytes(gpu.vram_free_bytes)} of ${bytes(gpu.vram_total_bytes)} free`;
    return html`<a class=${`${bad ? kind : ''} ${pressure}`} data-gpu=${gpuKey(view)} href=${`/gpus/devices?q=${encodeURIComponent(gpuKey(view))}`} title=${said}>
      <mg-sparkline aria-hidden="true" .points=${gpuHistory.of(view)} max="100"></mg-sparkline>
      <div class="line">${bad ? shape(kind) : nothing}<span class="id">${label}</span><b>${kind === 'idle' ? 'idle' : hot}</b></div>
      <span class="visually-hidden">${said}</span>
      <mg-meter aria-hidden="true" .parts=${[{ value: full, tone: pressure === 'low' ? 'others' : pressure === 'high' ? 'full' : 'ours', label: bytes(gpu.vram_used_bytes) }]} total="1"></mg-meter>
    </a>`;
  }

  protected override render(): unknown {
    const byNode = Map.groupBy(this.gpus ?? state.gpus.items.value, (view) => view.node);
    return repeat(byNode, ([node]) => node, ([node, gpus]) => {
      const vendors = new Set(gpus.map(({ gpu }) => gpu.vendor));
      // One vendor: its name stands once, beside the node's, and the cells are left to the numbers.
      const label = ({ gpu }: GpuView): string => (vendors.size === 1 ? String(gpu.index) : gpu.id);
      return html`<div class="node">
        <div class="name" title=${node}>${node}${vendors.size === 1 ? html` <small>${[...vendors][0]}</small>` : nothing}</div>
        <div class="cells ${gpus.length <= 4 ? 'few' : ''}">${repeat(gpus, gpuKey, (view) => this.#cell(view, label(view)))}</div>
      </div>`;
    });
  }
}
