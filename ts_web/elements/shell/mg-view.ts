import { css, html, nothing, type PropertyValues } from 'lit';
import { customElement, state } from 'lit/decorators.js';
import { MgElement } from '../../kit/element.ts';
import { icon } from '../../kit/icons.ts';
import '../../kit/states.ts';
import { view } from '../../router.ts';
import type { View } from '../../views.ts';

/** Loads the view that the path names, and shows it; keeps the one before until the new one is there. */
@customElement('mg-view')
export class MgView extends MgElement {
  static override styles = [MgElement.styles, css`:host { display: block; min-width: 0; }`];

  @state() private shown: { readonly view: View | null; readonly element: HTMLElement | null } | null = null;
  @state() private failed = false;
  #wanted: View | null | undefined;

  protected override willUpdate(changed: PropertyValues): void {
    super.willUpdate(changed);
    const wanted = view.value;
    if (wanted === this.#wanted) return;
    this.#wanted = wanted;
    void this.#show(wanted);
  }

  async #show(wanted: View | null): Promise<void> {
    this.failed = false;
    if (!wanted) {
      this.shown = { view: null, element: null };
      return;
    }
    try {
      await wanted.load();
    } catch {
      // The chunk could not be fetched: the daemon is away, or another version is served now.
      if (wanted === this.#wanted) this.failed = true;
      return;
    }
    if (wanted === this.#wanted) this.shown = { view: wanted, element: document.createElement(wanted.tag) };
  }

  protected override render(): unknown {
    if (this.failed) {
      return html`<h1 class="visually-hidden">Not loaded</h1><mg-empty heading="This view could not be loaded" icon="refresh">
        <p>The daemon does not answer, or it was updated since this page was opened.</p>
        <button type="button" class="btn primary" @click=${() => location.reload()}>${icon('refresh')} Load the page anew</button>
      </mg-empty>`;
    }
    if (!this.shown) return nothing;
    if (this.shown.element) return this.shown.element;
    return html`<h1 class="visually-hidden">Not found</h1><mg-empty heading="There is no such page" icon="search">
      <p>The address names no view of the console.</p>
      <a class="btn primary" href="/overview/stats">Go to the overview</a>
    </mg-empty>`;
  }
}
