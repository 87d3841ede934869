import { css, html, nothing } from 'lit';
import { customElement, property } from 'lit/decorators.js';
import { repeat } from 'lit/directives/repeat.js';
import { gpuKey, state, type GpuView } from '../../appstate.ts';
import { MgElement } from '../../kit/element.ts';
import { bytes, number, percent } from '../../kit/format.ts';
import { pathsOf, type Point } from '../../kit/sparkline.ts';
import { shape, shapeStyles } from '../../kit/status.ts';
import { gpuHistory } from '../gpus/gpu-history.ts';
import { healthOf } from '../gpus/gpu-health.ts';

const lines = new WeakMap<readonly Point[], string>();

/** The line of these points, which is drawn again with every new reading of memory. */
function lineOf(points: readonly Point[]): string {
  const known = lines.get(points);
  if (known !== undefined) return known;
  const [line] = pathsOf(points, points[0]?.[0] ?? 0, points.at(-1)?.[0] ?? 1, 100);
  lines.set(points, line);
  return line;
}

/** Node × GPU: one cell per device with its use, its last minutes, and a bar of its memory. */
@customElement('mg-gpu-map')
export class MgGpuMap extends MgElement {
  static override styles = [
    MgElement.styles,
    shapeStyles,
    css`
      :host { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(560px, 100%), 1fr)); gap: 0 24px; container-type: inline-size; }
      .node { display: grid; grid-template-columns: minmax(80px, 112px) 1fr; align-items: center; gap: 8px; padding: 3px 0; }
      .name { min-width: 0; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; color: var(--text); }
      .name small { color: var(--text-3); font-size: 12px; }
      .cells { display: grid; grid-template-columns: repeat(auto-fill, minmax(76px, 1fr)); gap: 4px; }
      .cells.many { grid-template-columns: repeat(8, minmax(0, 1fr)); }
      .cells.few { grid-template-columns: repeat(auto-fill, minmax(76px, 112px)); }
      a { position: relative; display: flex; gap: 4px; height: 44px; padding: 3px 6px; border: 1px solid var(--hairline); border-radius: 5px; background: var(--s2); color: var(--text); font-size: 12px; line-height: 16px; font-weight: 600; text-decoration: none; white-space: nowrap; overflow: hidden; }
      a:hover { border-color: var(--control); }
      a::before { content: attr(data-label); flex: 1 1 0; min-width: 0; overflow: hidden; text-overflow: ellipsis; color: var(--text-2); font-weight: 400; }
      .shape { order: -1; width: 10px; height: 10px; margin-top: 3px; }
      .drawn { position: absolute; inset: auto 0 0 0; width: 100%; height: 22px; color: var(--accent); }
      .low .drawn { color: var(--idle); }
      .high .drawn { color: var(--maintenance); }
      path.use { fill: none; stroke: currentcolor; stroke-width: 1.5; stroke-linejoin: round; vector-effect: non-scaling-stroke; opacity: 0.8; }
      path.memory { stroke: currentcolor; stroke-width: 4; vector-effect: non-scaling-stroke; }
      .idle { color: var(--text-2); font-weight: 400; }
      .critical { border: 2px solid var(--critical); background: var(--critical-tint); }
      .warning { border: 2px dashed var(--warning); background: var(--warning-tint); }
      .unknown { border-style: dashed; border-color: var(--control); }
      @container (max-width: 560px) {
        .node { grid-template-columns: 1fr; gap: 2px; padding: 6px 0; }
        .cells.many { grid-template-columns: repeat(4, minmax(0, 1fr)); }
      }
    `,
  ];

  /** Those to be shown; without it all that there are. */
  @property({ attribute: false }) gpus: readonly GpuView[] | undefined;

  override connectedCallback(): void {
    super.connectedCallback();
    this.whileConnected(() => gpuHistory.hold());
  }

  /** Few elements: a fleet has hundreds of these. The words are an attribute, and one drawing holds line and bar. */
  #cell(view: GpuView, label: string): unknown {
    const { gpu } = view;
    const [kind, word] = healthOf(view);
    const full = gpu.vram_total_bytes ? Math.min(1, gpu.vram_used_bytes / gpu.vram_total_bytes) : 0;
    const bad = kind === 'critical' || kind === 'warning' || kind === 'unknown';
    const pressure = full < 0.5 ? 'low' : full < 0.9 ? '' : 'high';
    const hot = kind === 'warning' && gpu.temperature_celsius != null ? `${number(gpu.temperature_celsius)} °C` : percent(gpu.utilization_percent);
    const shown = kind === 'idle' ? 'idle' : hot;
    const said = `${gpu.id} of ${view.node}: ${word}, ${shown === 'idle' ? '' : `${shown}, `}${bytes(gpu.vram_free_bytes)} of ${bytes(gpu.vram_total_bytes)} free`;
    return html`<a class=${`${bad || kind === 'idle' ? kind : ''} ${pressure}`} data-gpu=${gpuKey(view)} data-label=${label} href=${`/gpus/devices?q=${encodeURIComponent(gpuKey(view))}`} title=${said} aria-label=${said}>${bad ? shape(kind) : nothing}${shown}<svg class="drawn" viewBox="0 0 100 35" preserveAspectRatio="none" aria-hidden="true"><path class="use" d=${lineOf(gpuHistory.of(view))} /><path class="memory" d="M0 32h${(full * 100).toFixed(1)}" /></svg></a>`;
  }

  protected override render(): unknown {
    const byNode = Map.groupBy(this.gpus ?? state.gpus.items.value, (view) => view.node);
    return repeat(byNode, ([node]) => node, ([node, gpus]) => {
      const vendors = new Set(gpus.map(({ gpu }) => gpu.vendor));
      // One vendor: its name stands once, beside the node's, and the cells are left to the numbers.
      const label = ({ gpu }: GpuView): string => (vendors.size === 1 ? String(gpu.index) : gpu.id);
      return html`<div class="node">
        <div class="name" title=${node}>${node}${vendors.size === 1 ? html` <small>${[...vendors][0]}</small>` : nothing}</div>
        <div class="cells ${gpus.length <= 4 ? 'few' : vendors.size === 1 ? 'many' : ''}">${repeat(gpus, gpuKey, (view) => this.#cell(view, label(view)))}</div>
      </div>`;
    });
  }
}
