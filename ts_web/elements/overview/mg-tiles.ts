import { css, html, nothing } from 'lit';
import { customElement } from 'lit/decorators.js';
import { lost, state } from '../../appstate.ts';
import { MgElement } from '../../kit/element.ts';
import { count, UNKNOWN } from '../../kit/format.ts';
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

/** Worst first; the first of them that there is gives the tile its colour and its link. */
const TROUBLE = [
  ['failed', 'critical'],
  ['restarting', 'warning'],
  ['pending', 'warning'],
] as const;

/** Nodes, GPUs, deployments and the API, each with how it stands, and where to go about it. */
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

  #of(name: string, good: number, all: number, loaded: boolean, word: string, href: string): Tile {
    const bad = all - good;
    return {
      name,
      value: loaded ? `${count(good)} of ${count(all)}` : null,
      note: loaded && bad ? `${count(bad)} ${word}` : '',
      kind: bad ? 'critical' : 'ok',
      href,
    };
  }

  #deployments(): Tile {
    const all = state.deployments.items.value;
    const many = (name: string): number => all.filter((one) => one.state === name).length;
    const worst = TROUBLE.find(([name]) => many(name) > 0);
    return {
      name: 'Deployments',
      value: state.deployments.loaded ? `${count(many('running'))} of ${count(all.length)}` : null,
      note: worst ? `${count(many(worst[0]))} ${worst[0]}` : '',
      kind: worst?.[1] ?? 'ok',
      href: `/deployments/active${worst ? `?state=${worst[0]}` : ''}`,
    };
  }

  #tiles(): readonly Tile[] {
    const nodes = state.nodes.items.value;
    const gpus = state.gpus.items.value;
    const overview = state.overview.value;
    const sound = gpus.filter((one) => !one.stale && !one.gpu.xid_errors?.length).length;
    return [
      this.#of('Nodes', nodes.filter((one) => one.liveness === 'ready').length, nodes.length, state.nodes.loaded, 'not ready', '/cluster/nodes'),
      this.#of('GPUs', sound, gpus.length, state.gpus.loaded, 'not well', '/gpus/devices'),
      this.#deployments(),
      {
        name: 'API',
        value: overview ? (overview.gateways ? 'OK' : 'Down') : null,
        note: overview?.gateways === 0 ? 'no gateway reports' : '',
        kind: overview?.gateways ? 'ok' : 'critical',
        href: '/metrics',
      },
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
