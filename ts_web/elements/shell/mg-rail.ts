import { css, html, nothing } from 'lit';
import { customElement, property } from 'lit/decorators.js';
import { chooseTheme, state, theme } from '../../appstate.ts';
import { logout, session } from '../../data/session.ts';
import '../../kit/badge.ts';
import '../../kit/copy.ts';
import { MgElement } from '../../kit/element.ts';
import { icon } from '../../kit/icons.ts';
import { shape } from '../../kit/status.ts';
import { path } from '../../router.ts';
import { problemsOf } from '../../verdict.ts';
import { AREAS, areaOf, type Area } from '../../views.ts';
import { controlPlane } from '../cluster/control-plane.ts';
import { brand } from './brand.ts';

/** The areas, with what is wrong in each, and the identity of this node. Icons alone below 1100 px unless `full`. */
@customElement('mg-rail')
export class MgRail extends MgElement {
  static override styles = [
    MgElement.styles,
    css`
      :host { display: block; width: 200px; border-right: 1px solid var(--hairline); background: var(--s1); }
      :host([full]) { width: 100%; border: 0; }
      .rail { position: sticky; top: 0; display: flex; flex-direction: column; height: 100dvh; padding: 10px 8px; overflow-y: auto; scrollbar-width: none; }
      .brand { display: flex; align-items: center; gap: 9px; padding: 2px 8px 14px; color: var(--text); font-size: 14px; font-weight: 600; text-decoration: none; }
      ul { display: grid; gap: 2px; }
      li a { position: relative; display: flex; align-items: center; gap: 10px; min-height: 32px; padding: 4px 8px; border-radius: 6px; color: var(--text-2); text-decoration: none; }
      li a:hover { background: var(--s2); color: var(--text); }
      li a[aria-current] { background: var(--s3); color: var(--text); font-weight: 600; }
      .mark { display: inline-flex; align-items: center; gap: 4px; margin-left: auto; font-size: 12px; font-weight: 400; }
      .mark .shape { width: 11px; height: 11px; }
      .critical { color: var(--critical); }
      .warning { color: var(--warning); }
      footer { display: grid; gap: 6px; margin-top: auto; padding-top: 12px; font-size: 12px; line-height: 16px; color: var(--text-2); }
      .identity { display: grid; gap: 4px; padding: 0 8px; }
      .node { color: var(--text); font-weight: 600; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
      .line { display: flex; align-items: center; flex-wrap: wrap; gap: 6px; }
      .api { display: inline-flex; align-items: center; gap: 4px; min-height: 24px; color: var(--text-2); }
      .api .icon { width: 12px; height: 12px; }
      .tools { display: flex; gap: 2px; padding-top: 6px; border-top: 1px solid var(--hairline); }
      :host([full]) li a { min-height: 44px; }
      @media (max-width: 1100px) {
        :host(:not([full])) { width: 48px; }
        :host(:not([full])) :is(.identity, .mark b) { display: none; }
        :host(:not([full])) .name { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
        :host(:not([full])) .rail { padding: 10px 4px; }
        :host(:not([full])) .brand { padding: 2px 10px 14px; }
        :host(:not([full])) li a { justify-content: center; padding: 4px; }
        :host(:not([full])) .mark { position: absolute; right: 2px; top: 0; }
        :host(:not([full])) .tools { flex-direction: column; align-items: center; }
      }
    `,
  ];

  @property({ type: Boolean, reflect: true }) full = false;

  override connectedCallback(): void {
    super.connectedCallback();
    this.whileConnected(() => state.cluster.hold());
  }

  #area(area: Area): unknown {
    const { worst, many } = problemsOf(area.name);
    const here = areaOf(path.value) === area;
    return html`<li>
      <a href=${area.views[0]?.path ?? '/'} title=${area.title} aria-current=${here ? 'page' : nothing}>
        ${icon(area.icon)}<span class="name">${area.title}</span>
        ${worst
          ? html`<span class="mark ${worst}">${shape(worst)}<b>${many}</b><span class="visually-hidden"> ${worst}</span></span>`
          : nothing}
      </a>
    </li>`;
  }

  /** On a worker: the way to who decides for it. */
  #controlPlane(): unknown {
    const there = controlPlane.value;
    if (!there) return nothing;
    if (!there.console || there.isPrivate) return html`<a class="api" href="/cluster/placements" title="The way to the control plane’s console">of ${there.name}</a>`;
    return html`<a class="api" href=${there.console} target="_blank" rel="noreferrer" title=${`The control plane’s console, ${there.console}`}>of ${there.name} ${icon('external')}</a>`;
  }

  #identity(): unknown {
    const overview = state.overview.value;
    if (!overview) return nothing;
    return html`<div class="identity">
      <div class="node" title=${overview.node}>${overview.node}</div>
      <div class="line"><mg-badge>${overview.role}</mg-badge> v${overview.version}</div>
      ${this.#controlPlane()}
      ${overview.simulated ? html`<div><mg-badge tone="maintenance">simulated</mg-badge></div>` : nothing}
      <div class="base">API <mg-id wraps label="the base URL of the API" .value=${overview.api_url}></mg-id></div>
    </div>`;
  }

  protected override render(): unknown {
    const other = theme.value === 'dark' ? 'light' : 'dark';
    const who = session.value;
    return html`<div class="rail">
      <nav aria-label="Views">
        <a class="brand" href="/overview/stats" title="Overview">${brand()}<span class="name">ModelGrid</span></a>
        <ul>${AREAS.map((area) => this.#area(area))}</ul>
      </nav>
      <footer>
        ${this.#identity()}
        <div class="tools">
          <button type="button" class="btn ghost icon-only" aria-label=${`Use the ${other} theme`} title=${`Use the ${other} theme`} @click=${() => chooseTheme(other)}>
            ${icon(theme.value === 'dark' ? 'sun' : 'moon')}
          </button>
          <button type="button" class="btn ghost icon-only" aria-label="Keyboard shortcuts" title="Keyboard shortcuts (?)" @click=${() => this.emit('mg-sheet', undefined)}>
            ${icon('help')}
          </button>
          <button type="button" class="btn ghost icon-only" aria-label=${`Log out ${who?.user ?? ''}`} title=${`Log out ${who?.user ?? ''}`} @click=${() => void logout()}>
            ${icon('logout')}
          </button>
        </div>
      </footer>
    </div>`;
  }
}
