import uPlot from 'uplot';
import text from 'uplot/dist/uPlot.min.css?inline';

/** What a plot looks like, and who hears of it. */
export interface PlotOptions {
  readonly colours: readonly string[];
  readonly ink: string;
  readonly grid: string;
  readonly font: string;
  /** Plots of one group share the crosshair. */
  readonly group: string;
  readonly show: (value: number | null) => string;
  readonly clock: (at: number) => string;
  readonly range: () => readonly [from: number, to: number];
  /** The least top of the scale, so that noise near zero does not fill it. */
  readonly top: number;
  /** The scale goes in powers of two. */
  readonly binary: boolean;
  /** The place in the data below the crosshair; `null`: it is elsewhere. */
  readonly at: (place: number | null) => void;
  /** A part of the time was drawn with the pointer. */
  readonly chosen: (from: number, to: number) => void;
}

/** Dashes tell lines apart where colours do not. */
export const DASHES: readonly (readonly number[])[] = [[], [6, 3], [2, 2], [9, 3, 2, 3], [12, 4], [4, 2, 1, 2]];

const POWERS = Array.from({ length: 26 }, (_, i) => 2 ** (i + 20));

const sheet = new CSSStyleSheet();
sheet.replaceSync(text);

type Columns = readonly (readonly (number | null)[])[];

/** A drawing of lines over time. This module brings uPlot along: import it when it is needed. */
export class Plot {
  readonly #plot: uPlot;

  constructor(host: HTMLElement, root: ShadowRoot, options: PlotOptions, data: Columns) {
    if (!root.adoptedStyleSheets.includes(sheet)) root.adoptedStyleSheets = [...root.adoptedStyleSheets, sheet];
    const axis = { stroke: options.ink, font: options.font, grid: { stroke: options.grid, width: 1 }, ticks: { stroke: options.grid, width: 1, size: 4 } };
    this.#plot = new uPlot(
      {
        width: host.clientWidth,
        height: host.clientHeight,
        legend: { show: false },
        padding: [6, 18, 0, 0],
        scales: {
          x: { time: true, range: () => [...options.range()] },
          y: { range: (_, __, max) => [0, Math.max(options.top, (max ?? 0) * 1.08)] },
        },
        series: [{}, ...options.colours.map((stroke, i) => ({ stroke, width: 1.5, dash: [...(DASHES[i] ?? [])], points: { show: false } }))],
        axes: [
          { ...axis, space: 70, size: 26, values: (_, splits) => splits.map(options.clock) },
          { ...axis, space: 32, size: 62, gap: 4, ...(options.binary ? { incrs: POWERS } : {}), values: (_, splits) => splits.map((value) => (value === 0 ? '0' : options.show(value))) },
        ],
        cursor: {
          sync: { key: options.group },
          points: { size: 6 },
          drag: { x: true, y: false, setScale: false },
          y: false,
        },
        hooks: {
          setCursor: [({ cursor }) => options.at(cursor.idx ?? null)],
          setSelect: [
            (plot) => {
              const { left, width } = plot.select;
              if (width < 4) return;
              options.chosen(plot.posToVal(left, 'x'), plot.posToVal(left + width, 'x'));
              plot.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
            },
          ],
        },
      },
      data as unknown as uPlot.AlignedData,
      host,
    );
  }

  set(data: Columns): void {
    this.#plot.setData(data as unknown as uPlot.AlignedData);
  }

  resize(width: number, height: number): void {
    this.#plot.setSize({ width, height });
  }

  end(): void {
    this.#plot.destroy();
  }
}
