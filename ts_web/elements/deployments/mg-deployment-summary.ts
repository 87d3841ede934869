import { css, html, nothing } from 'lit';
import { customElement, property } from 'lit/decorators.js';
import type { Schemas } from '../../data/client.ts';
import '../../kit/copy.ts';
import { MgElement } from '../../kit/element.ts';
import { count, UNKNOWN } from '../../kit/format.ts';
import '../../kit/time.ts';
import './mg-decision.ts';

export type Detail = Schemas['DeploymentDetail'];

/** The drawer's first tab: what failed and what mends it, the effective settings, the decision that placed it. */
@customElement('mg-deployment-summary')
export class MgDeploymentSummary extends MgElement {
  static override styles = [
    MgElement.styles,
    css`
      :host { display: grid; gap: 20px; }
      dl { display: grid; grid-template-columns: minmax(110px, auto) 1fr; }
      dt, dd { padding: 5px 0; border-top: 1px solid var(--hairline); min-width: 0; }
      dt { padding-right: 16px; color: var(--text-2); }
      dd { overflow-wrap: anywhere; }
      h2 { margin-bottom: 6px; }
      .failure { display: grid; gap: 6px; padding: 10px 14px; border: 1px solid var(--critical); border-radius: 8px; background: var(--critical-tint); overflow-wrap: anywhere; }
      .failure pre { margin: 0; font: 12px/17px var(--mono); white-space: pre-wrap; overflow-wrap: anywhere; }
    `,
  ];

  @property({ attribute: false }) detail!: Detail;

  #failure(): unknown {
    const last = this.detail.failures.at(-1);
    if (!last) return nothing;
    const { diagnosis, exit } = last;
    const how = exit.error || (exit.signal ? `killed by signal ${exit.signal}` : `exited with code ${exit.code ?? UNKNOWN}`);
    return html`<section class="failure" aria-label="Last failure">
      <h2>${diagnosis?.cause ?? 'The engine failed'}</h2>
      ${diagnosis ? html`<p>${diagnosis.remedy}</p>` : html`<p>No known failure was recognised. The logs have its last words.</p>`}
      ${diagnosis?.evidence ? html`<pre>${diagnosis.evidence}</pre>` : nothing}
      <p class="muted">Attempt ${last.attempt} ${how}, <mg-time .at=${exit.at}></mg-time></p>
    </section>`;
  }

  #facts(): readonly (readonly [string, unknown])[] {
    const one = this.detail;
    const { spec } = one;
    const id = (value: string): unknown => html`<mg-id .value=${value}></mg-id>`;
    const facts: (readonly [string, unknown])[] = [
      ['Model', id(one.model)],
      ['Id', id(one.id)],
      ['Origin', one.origin],
      ['Node', one.node ?? UNKNOWN],
      ['GPUs', one.gpus.join(', ') || (one.node ? 'none: on the CPU' : UNKNOWN)],
      ['Runtime', one.runtime],
      ['Engine', one.engine_id ? id(one.engine_id) : UNKNOWN],
      ['Address', one.engine_url ? id(one.engine_url) : UNKNOWN],
      ['Attempt', count(one.attempt)],
      ['Created', html`<mg-time .at=${one.created_at}></mg-time>`],
      ['Ready', one.ready_at ? html`<mg-time .at=${one.ready_at}></mg-time>` : UNKNOWN],
    ];
    if (one.intent_reason) facts.push(['Wish', one.intent_reason]);
    if (spec.image) facts.push(['Image', html`<code class="mono">${spec.image}</code>`]);
    if (spec.context) facts.push(['Context', `${count(spec.context)} tokens`]);
    if (spec.concurrency) facts.push(['Concurrency', count(spec.concurrency)]);
    if (spec.args.length) facts.push(['Arguments', html`<code class="mono">${spec.args.join(' ')}</code>`]);
    if (spec.trust_remote_code) facts.push(['Remote code', 'the code of the model’s repository may run']);
    const names = Object.keys(spec.env ?? {});
    if (names.length) facts.push(['Environment', html`<code class="mono">${names.join(', ')}</code> <span class="muted">(values are not shown)</span>`]);
    return facts;
  }

  protected override render(): unknown {
    return html`${this.#failure()}
      <section>
        <h2>Scheduling decision</h2>
        <mg-decision .decision=${this.detail.decision}></mg-decision>
      </section>
      <section>
        <h2>Settings in force</h2>
        <dl>${this.#facts().map(([name, value]) => html`<dt>${name}</dt><dd>${value}</dd>`)}</dl>
      </section>`;
  }
}
