import { css, html, nothing } from 'lit';
import { customElement, property } from 'lit/decorators.js';
import type { Schemas } from '../../data/client.ts';
import { MgElement } from '../../kit/element.ts';
import { bytes } from '../../kit/format.ts';
import '../../kit/status.ts';

export type Decision = Schemas['Decision'];

/** A scheduling decision: the memory needed, term by term, and every GPU that was looked at with its numbers. */
@customElement('mg-decision')
export class MgDecision extends MgElement {
  static override styles = [
    MgElement.styles,
    css`
      :host { display: grid; gap: 12px; min-width: 0; }
      .summary { overflow-wrap: anywhere; }
      table { width: 100%; border-collapse: collapse; }
      caption { padding-bottom: 4px; color: var(--text-2); font-size: 12px; text-align: left; }
      th, td { padding: 4px 0; border-top: 1px solid var(--hairline); text-align: left; vertical-align: top; }
      th { min-width: 15ch; padding-right: 12px; font-weight: 400; }
      td { overflow-wrap: anywhere; }
      .size { padding-right: 12px; text-align: right; white-space: nowrap; }
      .formula { color: var(--text-3); font-size: 12px; }
      tfoot th, tfoot td { font-weight: 600; }
      li { display: grid; grid-template-columns: minmax(140px, auto) 1fr; gap: 2px 12px; padding: 5px 0; border-top: 1px solid var(--hairline); }
      li p { color: var(--text-2); overflow-wrap: anywhere; }
      li.chosen p { color: var(--text); }
      h3 { margin-bottom: 4px; color: var(--text-2); font-size: 12px; font-weight: 400; line-height: 16px; }
      @media (max-width: 520px) { li { grid-template-columns: 1fr; } .formula { display: none; } }
    `,
  ];

  @property({ attribute: false }) decision: Decision | null = null;
  /** Leave its one sentence out, where it stands beside it already. */
  @property({ type: Boolean }) bare = false;

  #need({ need }: Decision): unknown {
    if (need.terms.length === 0) return nothing;
    const total = need.terms.reduce((sum, term) => sum + term.bytes, 0);
    const where = need.gpu_count === 0 ? 'of host memory' : need.gpu_count > 1 ? `on each of ${need.gpu_count} GPUs` : 'on one GPU';
    return html`<table>
      <caption>Memory needed ${where}</caption>
      <tbody>
        ${need.terms.map(
          (term) => html`<tr><th scope="row">${term.name}</th><td class="size">${bytes(term.bytes)}</td><td class="formula">${term.formula}</td></tr>`,
        )}
      </tbody>
      <tfoot><tr><th scope="row">Sum</th><td class="size">${bytes(total)}</td><td></td></tr></tfoot>
    </table>`;
  }

  protected override render(): unknown {
    const decision = this.decision;
    if (!decision) return html`<p class="muted">Nothing was decided yet.</p>`;
    const verdicts = [...(decision.verdicts ?? [])].sort((a, b) => Number(b.chosen) - Number(a.chosen));
    return html`${this.bare
        ? nothing
        : html`<p class="summary"><mg-status wrap kind=${decision.node ? 'ok' : 'warning'} word=${decision.summary}></mg-status></p>`}
      ${this.#need(decision)}
      ${verdicts.length
        ? html`<div>
            <h3>Where it was looked for</h3>
            <ul>
              ${verdicts.map(
                (verdict) => html`<li class=${verdict.chosen ? 'chosen' : ''}>
                  <mg-status kind=${verdict.chosen ? 'ok' : 'idle'} word=${[verdict.node, verdict.gpu].filter(Boolean).join(' ')}></mg-status>
                  <p>${verdict.reason}</p>
                </li>`,
              )}
            </ul>
          </div>`
        : nothing}`;
  }
}
