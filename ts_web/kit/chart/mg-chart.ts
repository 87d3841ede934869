import { css, html, nothing, svg, type PropertyValues } from 'lit';
import { customElement, property, query, state } from 'lit/decorators.js';
import { MgElement } from '../element.ts';
import { absolute, clock, UNKNOWN } from '../format.ts';
import { columns, thinned, type Line } from './lines.ts';
import type { Plot } from './plot.ts';

const DAY = 86_400;
const TABLE_ROWS = 24;

/**
 * Lines over time, with a legend that tells the values below the crosshair (the newest without one), and the same as a
 * table. Drawing over a part of the time emits `mg-zoom` with both ends, in Unix seconds.
 */
@customElement('mg-chart')
export class MgChart extends MgElement {
  static override styles = [
    MgElement.styles,
    css`
      :host { display: block; min-width: 0; padding: 12px 16px 8px; border: 1px solid var(--hairline); border-radius: 8px; background: var(--s1); }
      header { display: flex; flex-wrap: wrap; align-items: baseline; gap: 0 10px; }
      h2 { color: var(--text); }
      .note, .when { color: var(--text-3); font-size: 12px; }
      .when { margin-left: auto; }
      ul { display: flex; flex-wrap: wrap; gap: 0 14px; min-height: 20px; margin-bottom: 4px; font-size: 12px; line-height: 20px; }
      li { display: flex; align-items: center; gap: 6px; min-width: 0; color: var(--text-2); }
      li span { overflow: hidden; text-overflow: ellipsis; white-space: nowrap; max-width: 220px; }
      li b { color: var(--text); font-weight: 600; white-space: nowrap; }
      li svg { flex: none; width: 18px; height: 8px; fill: none; stroke-width: 2; }
      .plot { height: 180px; margin: 0 -6px; }
      .plot > div { height: 100%; }
      .none { display: grid; place-content: center; height: 180px; color: var(--text-3); }
      details { margin-top: 2px; font-size: 12px; }
      summary { width: max-content; color: var(--text-2); cursor: pointer; }
      .table { max-height: 260px; overflow: auto; margin-top: 6px; }
      table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
      th, td { padding: 2px 12px 2px 0; border-bottom: 1px solid var(--hairline); text-align: right; white-space: nowrap; }
      th { color: var(--text-2); font-weight: 500; }
      th:first-child, td:first-child { text-align: left; }
    `,
  ];

  @property() heading = '';
  @property() note = '';
  @property({ attribute: false }) lines: readonly Line[] = [];
  @property({ attribute: false }) show: (value: number | null) => string = String;
  @property({ type: Number }) top = 1;
  /** The values are bytes: the scale goes in powers of two. */
  @property({ type: Boolean }) binary = false;
  /** Unix seconds of both ends. */
  @property({ type: Number }) from = 0;
  @property({ type: Number }) to = 1;
  @property() group = 'charts';
  /** Drawn in the colours of this theme. */
  @property() theme = '';
  @state() private at: number | null = null;
  @state() private tabled = false;
  @query('.plot > div') private host!: HTMLElement | null;
  #plot: Plot | undefined;
  #drawn = '';
  #data: (number | null)[][] = [[]];

  override connectedCallback(): void {
    super.connectedCallback();
    this.whileConnected(() => {
      const observer = new ResizeObserver(() => requestAnimationFrame(() => this.host && this.#plot?.resize(this.host.clientWidth, this.host.clientHeight)));
      observer.observe(this);
      return () => observer.disconnect();
    });
    this.whileConnected(() => () => {
      this.#plot?.end();
      this.#plot = undefined;
      this.#drawn = '';
    });
  }

  protected override willUpdate(changed: PropertyValues): void {
    if (changed.has('lines')) this.#data = columns(this.lines);
  }

  protected override updated(changed: PropertyValues): void {
    const look = this.host ? `${this.theme} ${this.lines.length}` : '';
    if (look !== this.#drawn) void this.#draw(look);
    else if (['lines', 'from', 'to', 'top'].some((name) => changed.has(name))) this.#plot?.set(this.#data);
  }

  async #draw(look: string): Promise<void> {
    this.#drawn = look;
    this.#plot?.end();
    this.#plot = undefined;
    if (!look) return;
    const { Plot } = await import('./plot.ts');
    const host = this.host;
    if (look !== this.#drawn || !this.isConnected || !host) return;
    const style = getComputedStyle(this);
    const token = (name: string): string => style.getPropertyValue(`--${name}`).trim();
    const options = {
      colours: this.lines.map((_, i) => token(`series-${(i % 6) + 1}`)),
      ink: token('text-3'),
      grid: token('hairline'),
      font: `11px ${token('font')}`,
      group: this.group,
      show: (value: number | null) => this.show(value),
      clock: (at: number) => this.#clock(at),
      range: () => [this.from, this.to] as const,
      top: this.top,
      binary: this.binary,
      at: (place: number | null) => (this.at = place),
      chosen: (from: number, to: number) => this.emit('mg-zoom', { from, to }),
    };
    this.#plot = new Plot(host, this.renderRoot as ShadowRoot, options, this.#data);
  }

  #clock(at: number): string {
    const date = new Date(at * 1000);
    const time = clock(at);
    const day = this.to - this.from >= DAY / 2 && time === '00:00:00' ? `${date.getDate()}.${date.getMonth() + 1}. ` : '';
    return day + (this.to - this.from <= 300 ? time : time.slice(0, 5));
  }

  #value(line: number): number | null {
    const column = this.#data[line + 1] ?? [];
    if (this.at !== null) return column[this.at] ?? null;
    // The newest step is still being measured.
    return column.at(-1) ?? column.at(-2) ?? null;
  }

  #legend(): unknown {
    return this.lines.map((line, i) => {
      const dash = ['', '6 3', '2 2', '9 3 2 3', '12 4', '4 2 1 2'][i] ?? '';
      return html`<li>
        <svg viewBox="0 0 18 8" aria-hidden="true">${svg`<path d="M0 4h18" stroke=${`var(--series-${(i % 6) + 1})`} stroke-dasharray=${dash || nothing} />`}</svg>
        <span title=${line.label}>${line.label}</span> <b>${this.show(this.#value(i))}</b>
      </li>`;
    });
  }

  #table(): unknown {
    const rows = thinned(this.#data, TABLE_ROWS);
    return html`<div class="table" tabindex="0" role="region" aria-label=${`${this.heading} as a table`}><table>
      <thead><tr><th scope="col">Time</th>${this.lines.map((line) => html`<th scope="col">${line.label}</th>`)}</tr></thead>
      <tbody>${rows.map(([at, ...values]) => html`<tr><td>${absolute(at)}</td>${values.map((value) => html`<td>${this.show(value)}</td>`)}</tr>`)}</tbody>
    </table></div>`;
  }

  protected override render(): unknown {
    const known = this.lines.some((line) => line.points.some(([, value]) => value !== null));
    const when = this.at === null ? null : this.#data[0]?.[this.at];
    const said = this.lines.map((line, i) => `${line.label} ${this.show(this.#value(i))}`).join(', ');
    return html`<section aria-label=${this.heading}>
      <header><h2>${this.heading}</h2><span class="note">${this.note}</span><span class="when">${when ? absolute(when) : nothing}</span></header>
      <ul>${known ? this.#legend() : nothing}</ul>
      ${known
        ? html`<div class="plot" role="img" aria-label=${`${this.heading}: ${said || UNKNOWN}`}><div></div></div>
            <details @toggle=${(event: Event) => (this.tabled = (event.target as HTMLDetailsElement).open)}>
              <summary>As a table</summary>
              ${this.tabled ? this.#table() : nothing}
            </details>`
        : html`<div class="none">Nothing was measured in this time.</div>`}
    </section>`;
  }
}
