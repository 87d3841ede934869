import { nothing, type LitElement, type ReactiveController } from 'lit';
import { Directive, directive, type ElementPart } from 'lit/directive.js';

/** So many rows are simply all there, so that the browser's own search finds them. */
const WHOLE = 40;
/** Above and below what is seen, so that scrolling finds rows. */
const AROUND_PX = 300;
/** Of a row, before one was measured. */
const GUESS_PX = 40;

/** What stands at one place: a row, or so many pixels for rows that are not there. `unseen`: the row is there for its width alone. */
export type Place<T> = { readonly row: T; readonly at: number; readonly unseen: boolean } | { readonly gap: number; readonly before: string };

/**
 * Of a long list only the rows near what is seen, with gaps for the others; a short one whole, and on paper every one.
 * Rows are elements with `data-key` in the host; their heights are measured once they are there. A row with the focus stays.
 */
export class Windowed<T> implements ReactiveController {
  readonly #heights = new Map<string, number>();
  /** Taken for the height of what was not measured: the mean of the rows that were first, so that the page does not grow and shrink. */
  #typical = GUESS_PX;
  #view = { top: 0, bottom: innerHeight };
  #shown = '';
  #rows: readonly T[] = [];
  #frame = 0;
  #wanted = '';
  readonly #print = matchMedia('print');

  constructor(
    private readonly host: LitElement,
    private readonly keyOf: (row: T) => string,
    /** What the rows lie in, and begin with. */
    private readonly body: () => Element | null | undefined,
  ) {
    host.addController(this);
  }

  hostConnected(): void {
    // Captured: whatever scrolls, the page or something in it.
    addEventListener('scroll', this.#soon, { capture: true, passive: true });
    addEventListener('resize', this.#resized);
    this.#print.addEventListener('change', this.#again);
  }

  hostDisconnected(): void {
    removeEventListener('scroll', this.#soon, { capture: true });
    removeEventListener('resize', this.#resized);
    this.#print.removeEventListener('change', this.#again);
    cancelAnimationFrame(this.#frame);
    this.#frame = 0;
  }

  hostUpdated(): void {
    this.#soon();
  }

  /** Whether there are more rows than are shown. */
  get partial(): boolean {
    return this.#rows.length > WHOLE && !this.#print.matches;
  }

  /** The places of `rows`, top to bottom. Of a long list those with a key in `kept()` are there wherever the page is. */
  places(rows: readonly T[], kept: () => ReadonlySet<string> = () => new Set()): readonly Place<T>[] {
    this.#rows = rows;
    if (!this.partial) return rows.map((row, at) => ({ row, at, unseen: false }));
    const [first, last] = this.#range();
    this.#shown = `${first}-${last}`;
    const focused = this.#focused();
    const always = kept();
    const places: Place<T>[] = [];
    let gap = 0;
    let before = '';
    rows.forEach((row, at) => {
      const key = this.keyOf(row);
      const near = (at >= first && at <= last) || key === focused || key === this.#wanted;
      if (!near) gap += this.#heights.get(key) ?? this.#typical;
      if (!near && !always.has(key)) return;
      if (gap && near) {
        places.push({ gap, before });
        gap = 0;
      }
      places.push({ row, at, unseen: !near });
      before = key;
    });
    if (gap) places.push({ gap, before });
    return places;
  }

  /** Show the row, wherever it is, and give it the focus. */
  async focus(row: T): Promise<void> {
    const key = this.keyOf(row);
    this.#wanted = key;
    this.host.requestUpdate();
    await this.host.updateComplete;
    this.#element(key)?.focus();
    this.#wanted = '';
  }

  #element(key: string): HTMLElement | null | undefined {
    return this.body()?.querySelector<HTMLElement>(`[data-key="${CSS.escape(key)}"]`);
  }

  #focused(): string | undefined {
    return this.body()?.querySelector<HTMLElement>('[data-key]:focus-within')?.dataset['key'];
  }

  /** The first and last row that touch what is seen. */
  #range(): readonly [number, number] {
    let [y, first, last] = [0, -1, -1];
    this.#rows.forEach((row, at) => {
      const end = y + (this.#heights.get(this.keyOf(row)) ?? this.#typical);
      if (end >= this.#view.top - AROUND_PX && y <= this.#view.bottom + AROUND_PX) {
        if (first < 0) first = at;
        last = at;
      }
      y = end;
    });
    return [first, last];
  }

  readonly #again = (): void => this.host.requestUpdate();

  readonly #resized = (): void => {
    this.#heights.clear(); // other widths, other lines
    this.#soon();
  };

  readonly #soon = (): void => {
    if (this.partial) this.#frame ||= requestAnimationFrame(() => this.#look());
  };

  /** Measure what is there, and render again when something else is seen now. */
  #look(): void {
    this.#frame = 0;
    const body = this.body();
    if (!body) return;
    if (this.#heights.size > 2 * this.#rows.length) this.#heights.clear(); // most of them have gone
    const first = this.#heights.size === 0;
    const between = parseFloat(getComputedStyle(body).rowGap) || 0;
    for (const row of body.querySelectorAll<HTMLElement>('[data-key]:not(.unseen)')) this.#heights.set(row.dataset['key'] ?? '', row.offsetHeight + between);
    if (first && this.#heights.size) this.#typical = [...this.#heights.values()].reduce((sum, one) => sum + one, 0) / this.#heights.size;
    const { top } = body.getBoundingClientRect();
    this.#view = { top: -top, bottom: innerHeight - top };
    if (first || this.#range().join('-') !== this.#shown) this.host.requestUpdate();
  }
}

/** `<td ${height(px)}>`: a height by data, which no attribute may say. */
export const height = directive(
  class extends Directive {
    override render(_: number): unknown {
      return nothing;
    }

    override update(part: ElementPart, [px]: [number]): unknown {
      (part.element as HTMLElement).style.height = `${px}px`;
      return nothing;
    }
  },
);
