import { html, nothing, type PropertyValues } from 'lit';
import { customElement, property, query, state } from 'lit/decorators.js';
import { repeat } from 'lit/directives/repeat.js';
import { hrefWith } from '../../router.ts';
import { MgElement } from '../element.ts';
import { absolute, clock } from '../format.ts';
import type { Finder } from './find.ts';
import { placeOf, type LogLine, type LogSource } from './lines.ts';
import { paneStyles } from './mg-log-pane.css.ts';
import { pieces } from './pieces.ts';
import { breaks, Rows, WIDEST } from './rows.ts';
import { styled, type Styled } from './sgr.ts';

const ROW = 17;
/** Rows drawn above and below what is seen, so that a fast wheel shows no empty space. */
const SPARE = 12;
/** So near to the top, older lines are fetched. */
const NEAR = 40 * ROW;
const NARROW = 480;

interface Drawn {
  readonly key: string;
  readonly line: LogLine;
  readonly look: Styled;
  readonly from: number;
  readonly to: number;
  readonly first: boolean;
  readonly found: ReturnType<Finder['ranges']>;
}

/**
 * The lines themselves: draws those in sight, however many there are. Stays at the newest while the reader is there;
 * scrolling up or selecting text stops that. Emits `mg-follow` with whether it follows.
 */
@customElement('mg-log-pane')
export class MgLogPane extends MgElement {
  static override styles = [MgElement.styles, paneStyles];

  @property({ attribute: false }) source!: LogSource;
  @property({ attribute: false }) finder!: Finder;
  @property() label = 'Log';
  @property({ type: Boolean }) wrap = false;
  /** Lines of several sources: each says whose it is. */
  @property({ type: Boolean }) named = false;
  /** The line that the address names. */
  @property({ type: Number }) chosen = 0;
  @property({ type: Boolean, reflect: true }) narrow = false;
  @state() private size: readonly [width: number, height: number] = [0, 0];
  @query('.pane') private pane!: HTMLElement;
  @query('.space') private space!: HTMLElement;
  @query('ol') private list!: HTMLElement;
  @query('.measure') private measure!: HTMLElement;

  #rows = new Rows();
  #following = true;
  #top = 0;
  #letter = 7.2;
  #wanted = 0;
  #pressed = false;
  /** The place was changed by us, and not by a scroll. */
  #placed = false;

  override connectedCallback(): void {
    super.connectedCallback();
    this.whileConnected(() => {
      const observer = new ResizeObserver(([entry]) => {
        if (entry) requestAnimationFrame(() => this.#resized(entry.contentRect.width, entry.contentRect.height));
      });
      observer.observe(this);
      return () => observer.disconnect();
    });
    this.whileConnected(() => {
      const selected = (): void => {
        const root = this.renderRoot as ShadowRoot & { getSelection?: () => Selection | null };
        const selection = root.getSelection?.() ?? document.getSelection();
        if (this.#pressed && selection?.type === 'Range') this.#follow(false);
      };
      document.addEventListener('selectionchange', selected);
      return () => document.removeEventListener('selectionchange', selected);
    });
  }

  /** Show a line in the middle, as soon as it is there. */
  reveal(seq: number): void {
    this.#wanted = seq;
    this.#follow(false);
    this.requestUpdate();
  }

  /** Go to the newest line and stay there. */
  toEnd(): void {
    this.#follow(true);
    this.requestUpdate();
  }

  /** The line at the top of what is seen. */
  get firstSeen(): number {
    return this.source.lines[this.#rows.at(Math.ceil(this.#top / ROW))[0]]?.seq ?? 0;
  }

  #resized(width: number, height: number): void {
    this.narrow = width < NARROW;
    this.#letter = this.measure.getBoundingClientRect().width / 100 || this.#letter;
    this.size = [this.pane.clientWidth, height];
  }

  #follow(on: boolean): void {
    if (on === this.#following) return;
    this.#following = on;
    this.source.reading = !on;
    this.emit('mg-follow', on);
  }

  #scrolled(): void {
    const { scrollTop, scrollHeight, clientHeight } = this.pane;
    if (scrollTop === this.#top) return;
    this.#top = scrollTop;
    const atEnd = scrollHeight - scrollTop - clientHeight < ROW;
    this.#follow(atEnd);
    this.#fetch();
    this.requestUpdate();
  }

  #fetch(): void {
    if (this.#top < NEAR && this.source.older.peek() === 'more') this.source.earlier();
    const below = this.#rows.total * ROW - this.#top - this.size[1];
    if (below < NEAR && this.source.mode.peek() === 'behind') this.source.later();
  }

  get #columns(): number {
    if (!this.wrap || !this.size[0]) return 0;
    const before = this.narrow ? 2 + (this.named ? 9 : 0) : 17 + (this.named ? 19 : 0);
    return Math.max(20, Math.floor((this.size[0] - (this.narrow ? 12 : 20)) / this.#letter) - before);
  }

  protected override willUpdate(changed: PropertyValues): void {
    void this.source.changed.value;
    if (changed.has('source')) {
      this.#rows = new Rows();
      this.#top = 0;
      this.#following = this.chosen === 0;
      this.source.reading = !this.#following;
      this.#wanted = this.chosen;
      this.emit('mg-follow', this.#following);
    }
    const [anchor, top] = [this.firstSeen, this.#top];
    const moved = this.#rows.sync(this.source, this.#columns);
    if (!this.#following) {
      if (!moved.anew) this.#top = Math.max(0, this.#top + moved.rows * ROW);
      else if (anchor) this.#top = this.#rows.rowOf(placeOf(this.source.lines, anchor)) * ROW;
    }
    const place = placeOf(this.source.lines, this.#wanted);
    if (this.#wanted && this.size[1] && this.source.lines[place]?.seq === this.#wanted) {
      this.#wanted = 0;
      this.#top = Math.max(0, this.#rows.rowOf(place) * ROW - this.size[1] / 2 + ROW);
    }
    if (this.#following) this.#top = Math.max(0, this.#rows.total * ROW - this.size[1]);
    this.#placed ||= changed.has('source') || this.#top !== top;
  }

  protected override updated(): void {
    this.space.style.setProperty('height', `${this.#rows.total * ROW}px`);
    const letters = Math.min(WIDEST + 40, this.#rows.widest) + (this.named ? 40 : 20);
    this.space.style.setProperty('min-width', this.wrap ? '100%' : `max(100%, ${letters}ch)`);
    this.list.style.setProperty('transform', `translateY(${this.#firstRow * ROW}px)`);
    // Asking for the place lays the page out: not after every scroll, which has told it.
    if (this.#following || this.#placed) {
      this.#placed = false;
      this.pane.scrollTop = this.#following ? this.#rows.total * ROW : this.#top;
      this.#top = this.pane.scrollTop;
    }
    // A page that has room for more than what came.
    if (this.size[1]) queueMicrotask(() => this.#fetch());
  }

  get #firstRow(): number {
    return Math.max(0, Math.floor(this.#top / ROW) - SPARE);
  }

  #drawn(): readonly Drawn[] {
    const drawn: Drawn[] = [];
    const columns = this.#columns;
    const end = Math.min(this.#rows.total, Math.ceil((this.#top + this.size[1]) / ROW) + SPARE);
    for (let row = this.#firstRow; row < end; ) {
      const [place, part] = this.#rows.at(row);
      const line = this.source.lines[place];
      if (!line) break;
      const look = styled(line.text);
      const starts = breaks(look.text, columns);
      const found = this.finder.ranges(look.text);
      for (let i = part; i < starts.length && row < end; i += 1, row += 1) {
        const from = starts[i] ?? 0;
        const next = starts[i + 1] ?? look.text.length;
        const to = next > from && look.text[next - 1] === '\n' ? next - 1 : next;
        drawn.push({ key: `${line.seq}.${i}`, line, look, from, to: columns ? to : Math.min(to, from + WIDEST), first: i === 0, found });
      }
    }
    return drawn;
  }

  #row(href: (line: LogLine) => string, { line, look, from, to, first, found }: Drawn): unknown {
    const level = line.level === 'gap' ? '' : this.narrow ? line.level.charAt(0).toUpperCase() : line.level;
    const cut = !this.wrap && to - from === WIDEST;
    return html`<li class=${`${line.level}${line.seq === this.chosen ? ' chosen' : ''}`} data-seq=${line.seq}>
      ${first && line.level !== 'gap'
        ? html`<a class="at" href=${href(line)} title=${`${absolute(line.at)}: choose this line`} tabindex="-1">${clock(line.at)}</a
            ><span class="level">${line.level === 'info' ? '' : level}</span>${this.named ? html`<span class="from" title=${line.source}>${line.source.replace(/^deployment:/, '')}</span>` : nothing}`
        : html`<span class="at"></span><span class="level"></span>${this.named ? html`<span class="from"></span>` : nothing}`}<span class="text"
        >${pieces(look, from, to, found)}${cut ? html`<span class="dim"> … ${look.text.length - to} more letters</span>` : nothing}</span
      ></li>`;
  }

  protected override render(): unknown {
    void this.finder.changed.value;
    const base = hrefWith({ line: null });
    const href = (line: LogLine): string => `${base}${base.includes('?') ? '&' : '?'}line=${line.seq}`;
    return html`<span class="measure">${'0'.repeat(100)}</span>
      <div class="pane" role="region" tabindex="0" aria-label=${this.label} @scroll=${this.#scrolled}
        @pointerdown=${() => (this.#pressed = true)}>
        <div class="space"><ol>${repeat(this.#drawn(), (one) => one.key, (one) => this.#row(href, one))}</ol></div>
      </div>`;
  }
}
