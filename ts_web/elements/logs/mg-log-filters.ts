import { css, html, nothing } from 'lit';
import { customElement, property } from 'lit/decorators.js';
import { state, type NodeView } from '../../appstate.ts';
import { LEVELS } from '../../data/log-wish.ts';
import { MgElement } from '../../kit/element.ts';
import { moment } from '../../kit/format.ts';
import { icon } from '../../kit/icons.ts';
import '../../kit/search.ts';
import { param, setParams } from '../../router.ts';

const PARTS = ['daemon', 'scheduler', 'gateway', 'deployment'] as const;
const ONE = 'deployment:';
const TIMES = [
  ['', 'Any time'],
  ['15m', 'Last 15 minutes'],
  ['1h', 'Last hour'],
  ['6h', 'Last 6 hours'],
  ['24h', 'Last 24 hours'],
  ['between', 'From … to …'],
] as const;

/** Unix seconds as `datetime-local` wants them: local, without a zone. */
function local(seconds: string): string {
  return seconds ? moment(Number(seconds)).replace(' ', 'T') : '';
}

/** The filters of the log; all of them are in the address. */
@customElement('mg-log-filters')
export class MgLogFilters extends MgElement {
  static override styles = [
    MgElement.styles,
    css`
      :host { display: flex; flex-wrap: wrap; align-items: center; gap: 6px 8px; }
      .parts { display: flex; flex-wrap: wrap; gap: 4px; }
      .parts button { min-height: 28px; padding: 2px 10px; border: 1px solid var(--hairline); border-radius: 999px; background: none; color: var(--text-2); font: 12px/18px var(--font); cursor: pointer; }
      .parts button:hover { color: var(--text); background: var(--s2); }
      .parts button[aria-pressed='true'] { border-color: var(--control); background: var(--s3); color: var(--text); font-weight: 600; }
      select, input { width: auto; max-width: 168px; min-height: 28px; padding: 3px 8px; font-size: 13px; text-overflow: ellipsis; }
      .text { display: flex; align-items: center; gap: 4px; flex: 1 1 190px; max-width: 380px; min-width: 0; }
      mg-search { flex: 1; min-width: 110px; }
      .text button { font: 12px/17px var(--mono); }
      .text [aria-pressed='true'] { border-color: var(--control); background: var(--accent-tint); color: var(--text); }
      @media (pointer: coarse) { .parts button, select, input { min-height: 44px; } }
      @media (max-width: 760px) { select { flex: 1 1 120px; max-width: 100%; } .text { flex-basis: 100%; max-width: none; } }
    `,
  ];

  /** Those chosen, as the address has them. */
  @property({ attribute: false }) sources: readonly string[] = [];

  override connectedCallback(): void {
    super.connectedCallback();
    this.whileConnected(() => state.deployments.hold());
    this.whileConnected(() => state.nodes.hold());
    this.whileConnected(() => state.cluster.hold());
  }

  #choose(sources: readonly string[]): void {
    setParams({ source: sources.join(','), line: null });
  }

  #toggle(part: string): void {
    const on = this.sources.includes(part);
    this.#choose(on ? this.sources.filter((one) => one !== part) : [...this.sources.filter((one) => part !== 'deployment' || !one.startsWith(ONE)), part]);
  }

  /** Every node has a log of its own: one of them is read at a time. */
  #nodes(): unknown {
    const own = state.cluster.value?.node ?? '';
    const names = new Set(state.nodes.items.value.map((one: NodeView) => one.name).sort());
    const chosen = param('node') || own;
    if (chosen) names.add(chosen);
    if (names.size < 2) return nothing;
    const choose = (event: Event): void => {
      const name = (event.target as HTMLSelectElement).value;
      const parts = this.sources.filter((one) => !one.startsWith(ONE));
      setParams({ node: name === own ? null : name, source: parts.join(','), line: null });
    };
    return html`<select aria-label="Node" @change=${choose}>
      ${[...names].map((name) => html`<option value=${name} ?selected=${name === chosen}>${name}</option>`)}
    </select>`;
  }

  #deployments(): unknown {
    const chosen = this.sources.find((one) => one.startsWith(ONE))?.slice(ONE.length) ?? '';
    const there = (node: string | null): boolean => !param('node') || node === param('node');
    const ids = new Set(state.deployments.items.value.filter((one) => there(one.node)).map((one) => one.id).sort());
    if (chosen) ids.add(chosen);
    if (ids.size === 0) return nothing;
    const choose = (event: Event): void => {
      const id = (event.target as HTMLSelectElement).value;
      const others = this.sources.filter((one) => !one.startsWith('deployment'));
      this.#choose(id ? [...others, ONE + id] : others);
    };
    return html`<select aria-label="One deployment" @change=${choose}>
      <option value="" ?selected=${!chosen}>any deployment</option>
      ${[...ids].map((id) => html`<option value=${id} ?selected=${id === chosen}>${id}</option>`)}
    </select>`;
  }

  #times(): unknown {
    const between = !param('range') && (param('since') || param('until'));
    const chosen = between ? 'between' : param('range');
    const choose = (event: Event): void => {
      const value = (event.target as HTMLSelectElement).value;
      const hourAgo = Math.floor(Date.now() / 1000) - 3_600;
      setParams(value === 'between' ? { range: null, since: hourAgo, until: null, line: null } : { range: value, since: null, until: null, line: null });
    };
    const set = (name: 'since' | 'until') => (event: Event): void => {
      const at = new Date((event.target as HTMLInputElement).value).getTime() / 1000;
      setParams({ [name]: Number.isFinite(at) ? at : null, line: null });
    };
    return html`<select aria-label="Time" @change=${choose}>
        ${TIMES.map(([value, label]) => html`<option value=${value} ?selected=${value === chosen}>${label}</option>`)}
      </select>
      ${between
        ? html`<input type="datetime-local" step="1" aria-label="From" .value=${local(param('since'))} @change=${set('since')} />
            <input type="datetime-local" step="1" aria-label="To" .value=${local(param('until'))} @change=${set('until')} />`
        : nothing}`;
  }

  protected override render(): unknown {
    const level = param('level');
    const expression = param('regex') !== '';
    const filtered = ['node', 'source', 'level', 'q', 'range', 'since', 'until'].some((name) => param(name));
    return html`${this.#nodes()}
      <div class="parts" role="group" aria-label="Sources">
        ${PARTS.map((part) => html`<button type="button" aria-pressed=${this.sources.includes(part) ? 'true' : 'false'} @click=${() => this.#toggle(part)}>${part === 'deployment' ? 'deployments' : part}</button>`)}
      </div>
      ${this.#deployments()}
      <select aria-label="Least level" @change=${(e: Event) => setParams({ level: (e.target as HTMLSelectElement).value, line: null })}>
        <option value="" ?selected=${!level}>Any level</option>
        ${LEVELS.slice(1).map((one) => html`<option value=${one} ?selected=${one === level}>${one}${one === 'error' ? '' : ' and worse'}</option>`)}
      </select>
      ${this.#times()}
      <div class="text">
        <mg-search label="the log"></mg-search>
        <button type="button" class="btn ghost" aria-label="Regular expression in the filter" title="Regular expression (RE2)" aria-pressed=${expression ? 'true' : 'false'}
          @click=${() => setParams({ regex: expression ? null : 1 }, { replace: true })}>.*</button>
        ${filtered ? html`<button type="button" class="btn ghost icon-only" aria-label="Show all" title="Show all" @click=${() => setParams({ node: null, source: null, level: null, q: null, regex: null, range: null, since: null, until: null, line: null })}>${icon('close')}</button>` : nothing}
      </div>`;
  }
}
