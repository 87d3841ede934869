import { css, html } from 'lit';
import { customElement, property } from 'lit/decorators.js';
import { live } from 'lit/directives/live.js';
import { param, setParams } from '../router.ts';
import { MgElement } from './element.ts';
import { icon } from './icons.ts';

/** A filter that is in the URL (`q`, with `prefix` before it). `/` puts the cursor into the first of a view. */
@customElement('mg-search')
export class MgSearch extends MgElement {
  static override styles = [
    MgElement.styles,
    css`
      :host { position: relative; display: block; flex: 0 1 280px; min-width: 160px; }
      svg.icon { position: absolute; left: 9px; top: 50%; translate: 0 -50%; color: var(--text-3); width: 14px; height: 14px; }
      input { padding-left: 30px; min-height: 28px; padding-block: 3px; font-size: 13px; }
    `,
  ];

  /** What is filtered: `deployments`. */
  @property() label = '';
  @property({ attribute: 'prefix' }) prefix_ = '';

  override focus(): void {
    const field = this.renderRoot.querySelector('input');
    field?.select();
    field?.focus();
  }

  protected override render(): unknown {
    return html`${icon('search')}
      <input
        type="search"
        aria-label=${`Filter ${this.label}`}
        placeholder=${`Filter ${this.label}`}
        .value=${live(param(`${this.prefix_}q`))}
        @input=${(event: Event) =>
          setParams({ [`${this.prefix_}q`]: (event.target as HTMLInputElement).value, [`${this.prefix_}page`]: null }, { replace: true })}
      />`;
  }
}

/** Whether every word of the filter is somewhere in the text. */
export function matches(filter: string, text: string): boolean {
  const low = text.toLowerCase();
  return filter.toLowerCase().split(/\s+/).every((word) => low.includes(word));
}
