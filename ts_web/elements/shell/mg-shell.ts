import { html, nothing } from 'lit';
import { customElement, query, state as internal } from 'lit/decorators.js';
import { state } from '../../appstate.ts';
import { paused, setPaused, waiting } from '../../data/stream.ts';
import { announce } from '../../kit/announce.ts';
import { deepActive } from '../../kit/drawer.ts';
import { MgElement } from '../../kit/element.ts';
import { count } from '../../kit/format.ts';
import { icon } from '../../kit/icons.ts';
import '../../kit/table.ts'; // nearly every view has one
import type { MgTable } from '../../kit/table.ts';
import '../../kit/tabs.ts';
import { path, view } from '../../router.ts';
import { shortcuts, startShortcuts, type Global } from '../../shortcuts.ts';
import { startVerdict } from '../../verdict.ts';
import { areaOf, VIEWS } from '../../views.ts';
import './mg-link-state.ts';
import './mg-rail.ts';
import { shellStyles } from './mg-shell.css.ts';
import './mg-view.ts';

const EARLY_MS = 10_000;

/** Rail, top bar, and the view in the middle; the keyboard, the palette, the pause. */
@customElement('mg-shell')
export class MgShell extends MgElement {
  static override styles = [MgElement.styles, shellStyles];

  @internal() private popup: 'palette' | 'sheet' | null = null;
  @internal() private menuOpen = false;
  @query('dialog') private menu!: HTMLDialogElement;
  readonly #shortcuts = shortcuts((what) => this.#run(what));

  override connectedCallback(): void {
    super.connectedCallback();
    this.whileConnected(() => state.overview.hold());
    this.whileConnected(() => this.#askEarly());
    this.whileConnected(startVerdict);
    this.whileConnected(() => startShortcuts(this.#shortcuts, () => void this.#open('palette')));
    this.whileConnected(() => {
      let before = path.value;
      return path.subscribe((now) => {
        if (this.menu?.open) this.menu.close();
        if (now === before) return;
        before = now;
        // The view changed: tell who cannot see it, and let Tab go on in it.
        this.renderRoot.querySelector('main')?.focus({ preventScroll: true });
        announce(view.value ? `${areaOf(now)?.title ?? ''} ${view.value.title}` : 'Not found');
      });
    });
  }

  /** What the landing page shows is asked for before anything is drawn; a little later it holds that itself. */
  #askEarly(): () => void {
    if (view.value !== VIEWS[0]) return () => undefined;
    const releases = [state.nodes, state.gpus, state.deployments].map((source) => source.hold());
    const release = (): void => releases.splice(0).forEach((one) => one());
    const timer = setTimeout(release, EARLY_MS);
    return () => (clearTimeout(timer), release());
  }

  #run(what: Global): void {
    if (what === 'palette' || what === 'sheet') void this.#open(what);
    else if (what === 'pause') setPaused(!paused.value);
    else if (what === 'search') this.#search();
    else this.#table()?.step(what === 'next' ? 1 : -1);
  }

  async #open(what: 'palette' | 'sheet'): Promise<void> {
    if (what === 'palette') await import('./mg-palette.ts');
    else await import('./mg-sheet.ts');
    this.popup = what;
  }

  get #shown(): Element | null | undefined {
    return this.renderRoot.querySelector('mg-view')?.shadowRoot?.firstElementChild;
  }

  #search(): void {
    const field = this.#shown?.shadowRoot?.querySelector<HTMLElement>('mg-search') ?? this.#table()?.shadowRoot?.querySelector<HTMLElement>('mg-search');
    if (field) field.focus();
    else void this.#open('palette');
  }

  /** The table that keys mean: the one with the focus, else the first in the view. */
  #table(): MgTable<unknown> | null {
    const focused = deepActive()?.getRootNode();
    if (focused instanceof ShadowRoot && focused.host.localName === 'mg-table') return focused.host as MgTable<unknown>;
    return this.#shown?.shadowRoot?.querySelector<MgTable<unknown>>('mg-table:not([bare])') ?? null;
  }

  #header(): unknown {
    const here = areaOf(path.value);
    const tabs = (here?.views ?? []).map((one) => ({ href: one.path, label: one.title, current: one.path === path.value }));
    return html`<header>
      <button type="button" class="btn icon-only only-narrow" aria-label="Menu" @click=${() => ((this.menuOpen = true), this.menu.showModal())}>${icon('menu')}</button>
      <span class="place">${here?.title ?? 'Not found'}</span>
      ${tabs.length > 1 ? html`<mg-tabs label=${`${here?.title} subviews`} .tabs=${tabs}></mg-tabs>` : nothing}
      <span class="space"></span>
      <button type="button" class="btn ghost search" @click=${() => void this.#open('palette')}>
        ${icon('search')}<span>Search</span> <kbd>Ctrl K</kbd>
      </button>
      <button
        type="button"
        class="btn ghost icon-only"
        aria-pressed=${paused.value ? 'true' : 'false'}
        aria-label="Pause live data"
        title=${paused.value ? 'Resume live data' : 'Pause live data'}
        @click=${() => setPaused(!paused.value)}
      >
        ${icon(paused.value ? 'play' : 'pause')}
      </button>
      <mg-link-state></mg-link-state>
    </header>`;
  }

  protected override render(): unknown {
    const openSheet = (): void => void this.#open('sheet');
    return html`<nav aria-label="Skip"><a class="btn skip" href="#main" @click=${(e: Event) => (e.preventDefault(), this.renderRoot.querySelector('main')?.focus())}>Skip to content</a></nav>
      <mg-rail @mg-sheet=${openSheet}></mg-rail>
      <dialog aria-label="Menu" @close=${() => (this.menuOpen = false)} @click=${(e: MouseEvent) => e.target === this.menu && this.menu.close()}>
        ${this.menuOpen ? html`<mg-rail full @mg-sheet=${openSheet}></mg-rail>` : nothing}
      </dialog>
      <div class="main">
        ${this.#header()}
        ${paused.value
          ? html`<div class="frozen">
              ${icon('pause')} Live data is paused. ${waiting.value ? `${count(waiting.value)} changes wait.` : 'Nothing new yet.'}
              <button type="button" class="btn" @click=${() => setPaused(false)}>Resume</button>
            </div>`
          : nothing}
        <main id="main" tabindex="-1"><mg-view></mg-view></main>
      </div>
      ${this.popup === 'palette'
        ? html`<mg-palette @mg-close=${() => (this.popup = null)}></mg-palette>`
        : this.popup === 'sheet'
          ? html`<mg-sheet .shortcuts=${this.#shortcuts} @mg-close=${() => (this.popup = null)}></mg-sheet>`
          : nothing}`;
  }
}
