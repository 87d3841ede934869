import { css, html, nothing } from 'lit';
import { customElement } from 'lit/decorators.js';
import { lost, state } from '../../appstate.ts';
import { partOf, reasons, type Part, type Reason } from '../../fleet.ts';
import { MgElement } from '../../kit/element.ts';
import { count, plural, UNKNOWN } from '../../kit/format.ts';
import { shape, type Kind } from '../../kit/status.ts';
import { resolve } from '../../views.ts';

interface Tile {
  readonly name: string;
  /** `null`: it is not known yet. */
  readonly value: string | null;
  /** What of it needs somebody; empty when nothing does. */
  readonly note: string;
  readonly kind: Kind;
  readonly href: string;
}

/** Worst first; the first of them that there is gives the tile of deployments its words and its link. */
const TROUBLE = ['failed', 'restarting', 'pending'] as const;

/**
 * Nodes, GPUs, deployments and the API, each with how it stands, and where to go about it. A tile has a colour exactly when
 * one of the reasons for the verdict is its own: what is wrong here is in the list below, and the reverse.
 */
@customElement('mg-tiles')
export class MgTiles extends MgElement {
  static override styles = [
    MgElement.styles,
    css`
      :host { display: block; }
      ul { display: flex; flex-wrap: wrap; gap: 8px; }
      a { display: block; min-width: 104px; height: 100%; padding: 6px 12px; border: 1px solid var(--hairline); border-radius: 8px; background: var(--s1); color: var(--text); text-decoration: none; }
      a:hover { border-color: var(--control); }
      .name { display: flex; align-items: center; gap: 6px; color: var(--text-2); font-size: 12px; line-height: 16px; }
      .shape { width: 10px; height: 10px; }
      .ok .shape { color: var(--ok); }
      .warning .shape, .warning .note { color: var(--warning); }
      .critical .shape, .critical .note { color: var(--critical); }
      .unknown .shape { color: var(--idle); }
      .critical { border-color: var(--critical); }
      .value { font-size: 16px; line-height: 24px; font-weight: 600; white-space: nowrap; }
      .note { font-size: 12px; line-height: 16px; }
      @media (max-width: 760px) { ul { display: grid; grid-template-columns: 1fr 1fr; } }
    `,
  ];

  #tile(part: Part, name: string, value: string | null, href: string, words: (own: readonly Reason[]) => string): Tile {
    const own = reasons.value.filter((reason) => partOf(reason) === part);
    const kind = own[0]?.severity ?? 'ok'; // they come worst first
    return { name, value, note: own.length ? words(own) : '', kind, href: own.length === 1 ? (own[0]?.link ?? href) : href };
  }

  #share(good: number, all: number, loaded: boolean): string | null {
    return loaded ? `${count(good)} of ${count(all)}` : null;
  }

  #deployments(): Tile {
    const all = state.deployments.items.value;
    const many = (name: string): number => all.filter((one) => one.state === name).length;
    const worst = TROUBLE.find((name) => many(name) > 0);
    const found = this.#tile('deployments', 'Deployments', this.#share(many('running'), all.length, state.deployments.loaded), '/deployments/active',
      (own) => (worst ? `${count(many(worst))} ${worst}` : plural(own.length, 'problem')));
    return { ...found, href: found.kind !== 'ok' && worst ? `/deployments/active?state=${worst}` : found.kind === 'ok' ? '/deployments/active' : found.href };
  }

  #tiles(): readonly Tile[] {
    const nodes = state.nodes.items.value;
    const gpus = state.gpus.items.value;
    const overview = state.overview.value;
    const ready = nodes.filter((one) => one.liveness === 'ready').length;
    const sound = gpus.filter((one) => !one.stale && one.faults.length === 0).length;
    const problems = (own: readonly Reason[]): string => plural(own.length, 'problem');
    return [
      this.#tile('nodes', 'Nodes', this.#share(ready, nodes.length, state.nodes.loaded), '/cluster/nodes', (own) => (ready < nodes.length ? `${count(nodes.length - ready)} not ready` : problems(own))),
      this.#tile('gpus', 'GPUs', this.#share(sound, gpus.length, state.gpus.loaded), '/gpus/devices', (own) => (sound < gpus.length ? `${count(gpus.length - sound)} not well` : problems(own))),
      this.#deployments(),
      this.#tile('api', 'API', overview ? (overview.gateways ? 'OK' : 'Down') : null, '/metrics', (own) => (overview?.gateways === 0 ? 'no gateway reports' : problems(own))),
    ];
  }

  protected override render(): unknown {
    return html`<ul aria-label="Fleet health">
      ${this.#tiles().map(({ name, value, note, kind, href }) => {
        const shown: Kind = value === null || lost.value ? 'unknown' : kind;
        const inside = html`<span class="name">${shape(shown)} ${name}</span><span class="value">${value ?? UNKNOWN}</span>${note ? html`<div class="note">${note}</div>` : nothing}`;
        return html`<li>${resolve(href.split('?')[0] ?? '') ? html`<a class=${shown} href=${href}>${inside}</a>` : inside}</li>`;
      })}
    </ul>`;
  }
}
