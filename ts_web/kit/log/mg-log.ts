import { html, nothing, type PropertyValues } from 'lit';
import { customElement, property, query, state } from 'lit/decorators.js';
import { live } from 'lit/directives/live.js';
import { copyItem } from '../../commands.ts';
import { param, setParams } from '../../router.ts';
import { enabled, takesText } from '../../shortcuts.ts';
import { announce } from '../announce.ts';
import { MgElement } from '../element.ts';
import { count, plural } from '../format.ts';
import { icon } from '../icons.ts';
import type { MenuItem } from '../menu.ts';
import { remember, remembered } from '../remember.ts';
import { Finder } from './find.ts';
import type { LogSource } from './lines.ts';
import './mg-log-pane.ts';
import type { MgLogPane } from './mg-log-pane.ts';
import { logStyles } from './mg-log.css.ts';
import { lineAt } from './rows.ts';

/**
 * A log to read: the lines, what is searched in them, the line that the address names, and where older and newer ones
 * are. The address holds `find`, `expression` and `line`; wrapping is a choice of this browser.
 */
@customElement('mg-log')
export class MgLog extends MgElement {
  static override styles = [MgElement.styles, logStyles];

  @property({ attribute: false }) source!: LogSource;
  @property() label = 'Log';
  @property({ type: Boolean }) named = false;
  /** Nothing more will come. */
  @property({ type: Boolean }) ended = false;
  /** Where all that match can be had as a file; empty where there is no more than what is here. */
  @property() exported = '';
  /** The same on the command line; empty where there is none. */
  @property() spoken = '';
  /** The address of the log with only those lines that a text is found in. */
  @property({ attribute: false }) narrowed: ((pattern: string, expression: boolean) => string) | undefined;
  /** Wraps where nobody has chosen yet: for narrow places. */
  @property({ type: Boolean }) wrapped = matchMedia('(max-width: 760px)').matches;
  @state() private chosen = remembered<boolean>('log-wrap');
  @state() private following = true;
  @query('mg-log-pane') private pane!: MgLogPane;
  @query('.find input') private field!: HTMLInputElement;
  #finder = new Finder('', false);
  /** The line that the search is at. */
  #at = 0;
  #seenUpTo = 0;
  #unread = 0;

  private get wrap(): boolean {
    return this.chosen ?? this.wrapped;
  }

  override connectedCallback(): void {
    super.connectedCallback();
    void import('../menu.ts'); // the lines are there first
    this.whileConnected(() => {
      const onKey = (event: KeyboardEvent): void => this.#key(event);
      document.addEventListener('keydown', onKey);
      return () => document.removeEventListener('keydown', onKey);
    });
    this.whileConnected(() => () => this.#finder.stop());
  }

  protected override willUpdate(changed: PropertyValues): void {
    void this.source.changed.value;
    const [pattern, expression] = [param('find'), param('expression') !== ''];
    if (pattern !== this.#finder.pattern || expression !== this.#finder.isExpression || changed.has('source')) {
      this.#finder.stop();
      this.#finder = new Finder(pattern, expression);
      this.#at = 0;
    }
    this.#finder.sync(this.source);
    if (param('line')) void import('./mg-log-line.ts');
    const end = this.source.head + this.source.lines.length;
    if (this.following || changed.has('source')) this.#seenUpTo = end;
    this.#unread = this.source.mode.value === 'live' ? Math.max(0, end - this.#seenUpTo) : this.source.missed.value;
  }

  #key(event: KeyboardEvent): void {
    const inside = event.composedPath().includes(this);
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || takesText(event)) return;
    if (event.key === '/' && inside) {
      event.preventDefault();
      this.field.select();
      this.field.focus();
    } else if ((event.key === 'n' || event.key === 'N') && (inside || enabled.value) && this.#finder.pattern) {
      event.preventDefault();
      this.#step(event.key === 'n' ? 1 : -1);
    } else if (event.key === 'End' && inside) this.#toEnd();
  }

  #step(by: 1 | -1): void {
    const from = this.#at || this.pane.firstSeen - (by > 0 ? 1 : 0);
    const found = this.#finder.step(from, by);
    if (found === undefined) return;
    this.#at = found;
    setParams({ line: found }, { replace: true });
    this.pane.reveal(found);
    announce(`Match ${this.#finder.numberOf(found)} of ${this.#finder.count}`);
  }

  #toEnd(): void {
    if (this.source.mode.peek() !== 'live') this.source.resume();
    this.pane.toEnd();
  }

  #wrap(): void {
    this.chosen = !this.wrap;
    remember('log-wrap', this.chosen);
  }

  #save(form: 'ndjson' | 'text'): void {
    const lines = this.source.lines;
    void import('./download.ts').then(({ saveLines }) => saveLines(lines, form));
  }

  #downloads(): readonly MenuItem[] {
    return [
      { label: `What is here, as NDJSON (${plural(this.source.lines.length, 'line')})`, icon: 'download', run: () => this.#save('ndjson') },
      { label: 'What is here, as text', icon: 'download', run: () => this.#save('text') },
      ...(this.exported ? [{ label: 'All that the daemon has of it, as NDJSON', icon: 'download' as const, href: this.exported }] : []),
      ...(this.spoken ? [copyItem('Copy as command', this.spoken)] : []),
    ];
  }

  #bar(): unknown {
    const finder = this.#finder;
    const at = finder.numberOf(this.#at);
    const paused = this.source.mode.value === 'paused';
    void finder.changed.value;
    const type = (event: Event): void => setParams({ find: (event.target as HTMLInputElement).value }, { replace: true });
    const enter = (event: KeyboardEvent): void => {
      if (event.key === 'Enter') this.#step(event.shiftKey ? -1 : 1);
    };
    return html`<div class="bar" role="group" aria-label=${`Tools of ${this.label}`}>
      <div class="find">
        ${icon('search')}
        <input type="text" aria-label="Find in these lines" placeholder="Find" spellcheck="false" autocomplete="off" maxlength="1000"
          aria-invalid=${finder.problem ? 'true' : nothing} .value=${live(finder.pattern)} @input=${type} @keydown=${enter} />
        <button type="button" class="btn ghost" aria-label="Regular expression" title="Regular expression" aria-pressed=${finder.isExpression ? 'true' : 'false'}
          @click=${() => setParams({ expression: finder.isExpression ? null : 1 }, { replace: true })}>.*</button>
      </div>
      ${finder.pattern && !finder.problem
        ? html`<span class="count" role="status">${at ? `${count(at)} of ` : ''}${plural(finder.count, 'match', 'matches')}</span>
            <button type="button" class="btn ghost icon-only" aria-label="Match before" title="Match before (N)" ?disabled=${!finder.count} @click=${() => this.#step(-1)}>${icon('up')}</button>
            <button type="button" class="btn ghost icon-only" aria-label="Next match" title="Next match (n)" ?disabled=${!finder.count} @click=${() => this.#step(1)}>${icon('down')}</button>
            ${this.narrowed ? html`<a class="btn ghost" href=${this.narrowed(finder.pattern, finder.isExpression)} title="Search the whole log, not only what is here">Only these</a>` : nothing}`
        : nothing}
      <span class="space"></span>
      ${this.ended ? nothing : html`<button type="button" class="btn" aria-pressed=${paused ? 'true' : 'false'} aria-label="Pause" title=${paused ? 'Go on' : 'Freeze the lines for reading'}
        @click=${() => (paused ? this.source.resume() : this.source.pause())}>${icon(paused ? 'play' : 'pause')}<span class="word">${paused ? 'Paused' : 'Pause'}</span></button>`}
      <button type="button" class="btn" aria-pressed=${this.wrap ? 'true' : 'false'} aria-label="Wrap" title="Wrap long lines" @click=${() => this.#wrap()}>${icon('wrap')}<span class="word">Wrap</span></button>
      <mg-menu label="Download" icon="download" .items=${this.#downloads()}></mg-menu>
      ${finder.problem ? html`<p class="problem" role="alert">No regular expression: ${finder.problem}</p>` : nothing}
    </div>`;
  }

  #pill(): unknown {
    const mode = this.source.mode.value;
    if (this.following && mode === 'live') return nothing;
    const some = this.#unread > 0;
    const words = !some ? (mode === 'paused' ? 'Go on' : 'To the newest') : Number.isFinite(this.#unread) ? plural(this.#unread, 'new line') : 'New lines';
    return html`<button type="button" class="btn pill ${some ? 'primary' : ''}" @click=${() => this.#toEnd()}>${icon('down')} ${words}</button>`;
  }

  #foot(): unknown {
    const { lines } = this.source;
    const older = this.source.older.value;
    const words = {
      more: html`older ones are in the daemon <button type="button" class="btn" @click=${() => this.source.everything()}>Load all</button>`,
      loading: html`loading older ones …`,
      none: html`there are no older ones`,
      full: html`there is no room for older ones: narrow the filter, or download them`,
    };
    return html`<div class="foot"><span>${plural(lines.length, 'line')}</span><span class="older">${words[older]}</span></div>`;
  }

  protected override render(): unknown {
    const seq = Number(param('line')) || 0;
    const line = seq ? lineAt(this.source.lines, seq) : undefined;
    return html`${this.#bar()}
      <div class="middle">
        <mg-log-pane .source=${this.source} .finder=${this.#finder} label=${this.label} ?wrap=${this.wrap} ?named=${this.named} .chosen=${seq}
          @mg-follow=${(event: CustomEvent<boolean>) => queueMicrotask(() => (this.following = event.detail))}></mg-log-pane>
        ${this.#pill()}
      </div>
      ${line ? html`<mg-log-line .line=${line}></mg-log-line>` : nothing}${this.#foot()}`;
  }
}
