import { html, nothing, type PropertyValues } from 'lit';
import { customElement, property, state } from 'lit/decorators.js';
import { repeat } from 'lit/directives/repeat.js';
import { hrefWith, param, setParams } from '../router.ts';
import { MgElement } from './element.ts';
import { count, UNKNOWN } from './format.ts';
import { icon } from './icons.ts';
import { keepOrder, matching, sorted, type Column, type Ordered } from './table-order.ts';
import { tableStyles } from './table.css.ts';
import { remember, remembered } from './remember.ts';
import './search.ts';
import './table-columns.ts';
import { height, Windowed } from './windowed.ts';

export type { Column } from './table-order.ts';

const PAGE = 500;
/** Letters of a value that cannot stretch its cell. */
const SHORT = 40;

/**
 * A table of live rows. Sort, filter and page are in the URL (`sort`, `q`, `page`, each with `prefix` before it); the
 * choice of columns is kept by `name`. While the pointer or the focus is in it no row moves: new rows come last, gone
 * ones stay, pale, until it leaves. A click or Enter on a row opens the first link in it. Rows are cards below `cards-below` pixels.
 * Slots: `filters` beside the search, `bulk` while rows are selected.
 */
@customElement('mg-table')
export class MgTable<T> extends MgElement {
  static override styles = [MgElement.styles, tableStyles];

  @property() name = '';
  /** What the rows are, in the plural: `deployments`. */
  @property() label = 'rows';
  @property({ attribute: false }) columns: readonly Column<T>[] = [];
  @property({ attribute: false }) rows: readonly T[] = [];
  @property({ attribute: false }) rowKey: (row: T) => string = () => '';
  @property({ attribute: 'prefix' }) prefix_ = '';
  /** The first order, as in the URL: `name` or `-name`. */
  @property() sort = '';
  /** The key of the row that is open, for example in a drawer. */
  @property() current = '';
  /** Without search, count and column choice: a short table within a card. */
  @property({ type: Boolean, reflect: true }) bare = false;
  @property({ type: Boolean, reflect: true }) selectable = false;
  @property({ attribute: false }) selection: ReadonlySet<string> = new Set();
  /** Where its columns do not fit: 680 px, 400 when `bare`, unless it has many. */
  @property({ type: Number, attribute: 'cards-below' }) cardsBelow = 0;
  /** Too narrow for columns. */
  @property({ type: Boolean, reflect: true }) cards = false;
  /** The columns that there is no room for. */
  @state() private left = '';
  @state() private hidden_: ReadonlySet<string> | null = null;
  #order: readonly Ordered<T>[] = [];
  #held = false;
  #asked = '';
  readonly #window = new Windowed<Ordered<T>>(this, (entry) => entry.key, () => this.renderRoot.querySelector('tbody'));

  override connectedCallback(): void {
    super.connectedCallback();
    this.whileConnected(() => {
      const observer = new ResizeObserver(([entry]) => {
        // In the next frame: a change of the layout from within is an error to browsers.
        if (entry) requestAnimationFrame(() => this.#fit(entry.contentRect.width));
      });
      observer.observe(this);
      return () => observer.disconnect();
    });
  }

  #fit(width: number): void {
    this.cards = width < (this.cardsBelow || (this.bare ? 400 : 680));
    this.left = this.columns.filter((column) => !this.cards && (column.room ?? 0) > width).map((column) => column.id).join(' ');
  }

  get #sort(): string {
    return (this.bare ? '' : param(`${this.prefix_}sort`)) || this.sort;
  }

  get #hidden(): ReadonlySet<string> {
    this.hidden_ ??= new Set(
      remembered<string[]>(`columns:${this.name}`) ?? this.columns.filter((c) => c.optional).map((c) => c.id),
    );
    return this.hidden_;
  }

  protected override willUpdate(_: PropertyValues): void {
    const kept = this.bare ? this.rows : matching(this.rows, this.columns, param(`${this.prefix_}q`));
    const fresh = sorted(kept, this.columns, this.#sort).map((row) => ({ key: this.rowKey(row), row, gone: false }));
    // Who sorts, filters or turns a page wants the rows to move.
    const asked = `${this.#sort}|${this.bare ? '' : hrefWith({ open: null, tab: null })}`; // whatever filters, it is in the address
    this.#order = this.#held && asked === this.#asked ? keepOrder(this.#order, fresh) : fresh;
    this.#asked = asked;
  }

  #hold(held: boolean): void {
    const still = held || this.renderRoot.querySelector('tbody:hover, tbody:focus-within') !== null;
    if (this.#held && !still) this.requestUpdate();
    this.#held = still;
  }

  #sortBy(column: Column<T>): void {
    const next = this.#sort === column.id ? `-${column.id}` : column.id;
    setParams({ [`${this.prefix_}sort`]: next === this.sort ? null : next, [`${this.prefix_}page`]: null }, { replace: true });
  }

  #hide(hidden: ReadonlySet<string>): void {
    this.hidden_ = hidden;
    remember(`columns:${this.name}`, [...hidden]);
  }

  #open(event: MouseEvent): void {
    const inside = event.composedPath();
    const row = event.currentTarget as HTMLElement;
    const until = inside.indexOf(row);
    const taken = inside.slice(0, until).some((n) => n instanceof HTMLElement && n.matches('a,button,input,label,select,mg-menu,mg-id'));
    if (taken || getSelection()?.toString()) return;
    row.querySelector('a')?.click();
  }

  /** Move the focus by rows (`j`, `k`); the shell calls it. */
  step(by: number): void {
    const key = this.renderRoot.querySelector<HTMLElement>('tbody tr:is(:focus, :focus-within)')?.dataset['key'];
    const rows = this.#page;
    const at = rows.findIndex((entry) => entry.key === key);
    const next = rows[Math.max(0, Math.min(rows.length - 1, at + by))];
    if (next) void this.#window.focus(next);
  }

  #key(event: KeyboardEvent): void {
    const row = event.currentTarget as HTMLElement;
    if (event.key === 'Enter' && event.composedPath()[0] === row) row.querySelector('a')?.click();
  }

  #select(keys: Iterable<string>, on: boolean): void {
    const chosen = new Set(this.selection);
    for (const key of keys) {
      if (on) chosen.add(key);
      else chosen.delete(key);
    }
    this.selection = chosen;
    this.emit('mg-select', chosen);
  }

  #bar(): unknown {
    if (this.bare) return nothing;
    const shown = this.#order.filter((entry) => !entry.gone).length;
    const q = param(`${this.prefix_}q`);
    return html`<div class="bar">
      <mg-search label=${this.label} prefix=${this.prefix_}></mg-search>
      <slot name="filters"></slot>
      ${this.selection.size
        ? html`<div class="bulk">${count(this.selection.size)} selected <slot name="bulk"></slot></div>`
        : nothing}
      <span class="many" role="status">${q || shown !== this.rows.length ? `${count(shown)} of ${count(this.rows.length)}` : count(this.rows.length)} ${this.rows.length === 1 ? this.label.replace(/s$/, '') : this.label}</span>
      <mg-table-columns .columns=${this.columns.filter((column) => column.label && !column.main)} .unseen=${this.#hidden}
        @mg-hide=${(event: CustomEvent<ReadonlySet<string>>) => this.#hide(event.detail)}></mg-table-columns>
    </div>`;
  }

  #head(columns: readonly Column<T>[], keys: readonly string[]): unknown {
    const sort = this.#sort;
    return html`<thead role="rowgroup"><tr role="row">
      ${this.selectable
        ? html`<th class="check" role="columnheader" scope="col"><input type="checkbox" aria-label=${`Select all ${this.label}`}
            .checked=${keys.length > 0 && keys.every((key) => this.selection.has(key))}
            @change=${(e: Event) => this.#select(keys, (e.target as HTMLInputElement).checked)} /></th>`
        : nothing}
      ${columns.map((column) => {
        const direction = sort === column.id ? 'ascending' : sort === `-${column.id}` ? 'descending' : nothing;
        const inside =
          column.sort && !this.bare
            ? html`<button type="button" @click=${() => this.#sortBy(column)}>${column.label}${icon(direction === 'descending' ? 'down' : 'up')}</button>`
            : column.label || html`<span class="visually-hidden for-actions">Actions</span>`;
        return html`<th role="columnheader" scope="col" class=${column.numeric ? 'number' : ''} aria-sort=${direction}>${inside}</th>`;
      })}
    </tr></thead>`;
  }

  /** The row that is the widest in each column: rows come and go while one scrolls, widths do not. */
  #widest(columns: readonly Column<T>[]): ReadonlySet<string> {
    const widest = new Map<string, readonly [length: number, key: string]>();
    for (const { key, row } of this.cards ? [] : this.#page) {
      for (const { id, text, sort } of columns) {
        const { length } = text?.(row) ?? String(sort?.(row) ?? '');
        if (length > (widest.get(id)?.[0] ?? 0)) widest.set(id, [length, key]);
      }
    }
    return new Set([...widest.values()].map(([, key]) => key));
  }

  #row(entry: Ordered<T>, columns: readonly Column<T>[], at: number, unseen: boolean): unknown {
    const { key, row, gone } = entry;
    const chosen = this.selection.has(key);
    return html`<tr role="row" tabindex="-1" class="link ${gone ? 'gone' : ''} ${chosen ? 'selected' : ''} ${unseen ? 'unseen' : ''}" data-key=${key}
      aria-rowindex=${this.#window.partial ? at + 2 : nothing} aria-current=${key === this.current ? 'true' : nothing} @click=${this.#open} @keydown=${this.#key}>
      ${this.selectable
        ? html`<td class="check" role="cell"><input type="checkbox" aria-label=${`Select ${key}`} .checked=${chosen}
            @change=${(e: Event) => this.#select([key], (e.target as HTMLInputElement).checked)} /></td>`
        : nothing}
      ${columns.map((column) => {
        const kind = [column.numeric ? 'number' : '', column.main ? 'main' : '', column.actions ? 'actions' : '', column.nowrap ? 'nowrap' : ''];
        const content = column.cell(row);
        // On a card an empty line would only take space.
        if (content === nothing || content === '' || content === UNKNOWN) kind.push('blank');
        // What is short needs no bounds.
        const inside = typeof content === 'number' || (typeof content === 'string' && content.length <= SHORT) ? content : html`<div class="cell">${content}</div>`;
        return html`<td role="cell" class=${kind.filter(Boolean).join(' ')} data-label=${column.label}>${inside}</td>`;
      })}
    </tr>`;
  }

  get #pages(): number {
    return Math.ceil(this.#order.length / PAGE);
  }

  get #at(): number {
    return Math.min(Math.max(1, Number(param(`${this.prefix_}page`)) || 1), Math.max(1, this.#pages));
  }

  /** The rows of this page. */
  get #page(): readonly Ordered<T>[] {
    return this.#pages > 1 ? this.#order.slice((this.#at - 1) * PAGE, this.#at * PAGE) : this.#order;
  }

  #turning(): unknown {
    if (this.#pages < 2) return nothing;
    const page = this.#at;
    return html`<nav class="pages" aria-label="Pages">
      ${page > 1 ? html`<a class="btn" href=${hrefWith({ [`${this.prefix_}page`]: page - 1 })}>Earlier</a>` : nothing}
      Page ${page} of ${this.#pages}
      ${page < this.#pages ? html`<a class="btn" href=${hrefWith({ [`${this.prefix_}page`]: page + 1 })}>Next</a>` : nothing}
    </nav>`;
  }

  protected override render(): unknown {
    const left = this.left.split(' ');
    const columns = this.columns.filter((column) => column.main || !(this.#hidden.has(column.id) || left.includes(column.id)));
    const all = this.#page;
    const keys = all.filter((entry) => !entry.gone).map((entry) => entry.key);
    const places = this.#window.places(all, () => this.#widest(columns));
    return html`${this.#bar()}
      <div class="scroll">
        <table role="table" aria-label=${this.label} aria-rowcount=${this.#window.partial ? all.length + 1 : nothing}>
          ${this.#head(columns, keys)}
          <tbody role="rowgroup" @pointerenter=${() => this.#hold(true)} @pointerleave=${() => this.#hold(false)}
            @focusin=${() => this.#hold(true)} @focusout=${() => queueMicrotask(() => this.#hold(false))}>
            ${repeat(
              places,
              (place) => ('row' in place ? place.row.key : `gap after ${place.before}`),
              (place) =>
                'row' in place
                  ? this.#row(place.row, columns, place.at, place.unseen)
                  : html`<tr class="gap" aria-hidden="true"><td colspan=${columns.length + Number(this.selectable)} ${height(place.gap)}></td></tr>`,
            )}
          </tbody>
        </table>
        ${all.length === 0 ? html`<div class="none">No ${this.label} match this filter.</div>` : nothing}
      </div>
      ${this.#turning()}`;
  }
}
