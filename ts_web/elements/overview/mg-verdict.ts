import { css, html, nothing } from 'lit';
import { customElement } from 'lit/decorators.js';
import { lost, state } from '../../appstate.ts';
import { silence } from '../../data/stream.ts';
import { reasons, word } from '../../fleet.ts';
import { MgElement } from '../../kit/element.ts';
import { coarse, count, plural } from '../../kit/format.ts';
import { shape, type Kind } from '../../kit/status.ts';
import './mg-tiles.ts';

const KINDS = { healthy: 'ok', degraded: 'warning', down: 'critical', unknown: 'unknown' } as const satisfies Record<string, Kind>;

/** The answer to "is the fleet healthy?" in one sentence, with the counts behind it. */
@customElement('mg-verdict')
export class MgVerdict extends MgElement {
  static override styles = [
    MgElement.styles,
    css`
      section { min-height: 82px; display: flex; flex-wrap: wrap; align-items: center; gap: 12px 16px; padding: 14px 20px; border: 1px solid var(--hairline); border-left: 4px solid var(--idle); border-radius: 8px; background: var(--idle-tint); }
      .ok { border-left-color: var(--ok); background: var(--ok-tint); }
      .warning { border-left-color: var(--warning); background: var(--warning-tint); }
      .critical { border-left-color: var(--critical); background: var(--critical-tint); }
      .sign { flex: none; width: 40px; height: 40px; }
      .sign .shape { width: 40px; height: 40px; display: block; }
      .sign.ok { color: var(--ok); background: none; }
      .sign.warning { color: var(--warning); background: none; }
      .sign.critical { color: var(--critical); background: none; }
      .sign.unknown { color: var(--idle); }
      .words { flex: 1 1 320px; min-width: 0; }
      h1 { font-size: 24px; line-height: 32px; font-weight: 600; overflow-wrap: anywhere; }
      p { color: var(--text); overflow-wrap: anywhere; }
      @media (max-width: 760px) {
        section { padding: 14px 16px; }
        .sign, .sign .shape { width: 28px; height: 28px; }
        .words { flex-basis: 220px; }
        h1 { font-size: 20px; line-height: 28px; }
        mg-tiles { width: 100%; }
      }
    `,
  ];

  #sentence(): readonly [string, string] {
    const many = reasons.value.length;
    const first = reasons.value[0];
    if (word.value === 'unknown') {
      const said = state.overview.value;
      if (said?.verdict === 'unknown' && !lost.value) return ['Unknown', said.sentence];
      if (!state.overview.loaded && !state.overview.problem) return ['Asking the daemon', 'The first answer is on its way.'];
      const age = Number.isFinite(silence.value) ? `last data ${coarse(silence.value)} ago` : 'no data from the daemon';
      return [`Unknown, ${age}`, 'What is below is the last that was known. The console tries to reach the daemon.'];
    }
    if (word.value === 'healthy') return ['Healthy', 'Nothing needs you.'];
    const heading = `${word.value === 'down' ? 'Down' : 'Degraded'}: ${many === 1 ? '1 problem needs you' : `${count(many)} problems need you`}`;
    const more = many > 1 ? `, and ${plural(many - 1, 'more')}`.replace(/mores$/, 'more') : '';
    return [heading, first ? `${first.what}${first.cause ? `: ${first.cause.replace(/\.$/, '')}` : ''}${more}.` : ''];
  }

  protected override render(): unknown {
    const kind = KINDS[word.value];
    const [heading, text] = this.#sentence();
    return html`<section class=${kind} aria-label="Verdict">
      <span class="sign ${kind}">${shape(kind)}</span>
      <div class="words">
        <h1>${heading}</h1>
        <p class="clamp">${text}</p>
      </div>
      ${state.overview.loaded ? html`<mg-tiles></mg-tiles>` : nothing}
    </section>`;
  }
}
