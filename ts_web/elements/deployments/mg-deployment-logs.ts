import { css, html, nothing, type PropertyValues } from 'lit';
import { customElement, property } from 'lit/decorators.js';
import { LogFeed } from '../../data/log-feed.ts';
import { EVERYTHING, exportOf } from '../../data/log-wish.ts';
import { MgElement } from '../../kit/element.ts';
import '../../kit/log/mg-log.ts';
import '../../kit/states.ts';
import { param } from '../../router.ts';

/** What the engines of one deployment say; of one that does not run, the last of it. */
@customElement('mg-deployment-logs')
export class MgDeploymentLogs extends MgElement {
  static override styles = [
    MgElement.styles,
    css`
      :host { display: flex; flex-direction: column; gap: 8px; height: calc(100dvh - 170px); min-height: 260px; }
      mg-state { flex: 1; min-height: 0; }
      mg-log { flex: 1; }
      .note { color: var(--text-2); }
    `,
  ];

  @property() deployment = '';
  /** It does not run: `failed`, `stopped`, …; empty when it does. */
  @property() down = '';
  #feed!: LogFeed;
  #release: (() => void) | undefined;

  override connectedCallback(): void {
    super.connectedCallback();
    this.whileConnected(() => () => this.#release?.());
    if (this.hasUpdated) this.#open();
  }

  protected override willUpdate(changed: PropertyValues): void {
    if (changed.has('deployment')) this.#open();
  }

  #open(): void {
    this.#release?.();
    this.#feed = new LogFeed({ ...EVERYTHING, sources: [this.#source] }, Number(param('line')) || 0);
    this.#release = this.#feed.hold();
  }

  get #source(): string {
    return `deployment:${this.deployment}`;
  }

  protected override render(): unknown {
    const feed = this.#feed;
    void feed.changed.value;
    const source = encodeURIComponent(this.#source);
    const silent = feed.loaded && feed.lines.length === 0 && feed.older.value === 'none';
    return html`${this.down && !silent ? html`<p class="note">It does not run (${this.down}): these are its last lines. <a href=${`/logs?source=${source}`}>Its whole log</a></p>` : nothing}
      <mg-state fill .source=${feed}>
        ${silent
          ? html`<mg-empty heading="It has said nothing yet" icon="logs"><p>Its output appears here as soon as an engine runs.</p></mg-empty>`
          : html`<mg-log wrapped label=${`Log of ${this.deployment}`} .source=${feed} exported=${exportOf(feed.wish)} spoken=${`modelgrid logs ${this.deployment} --follow`}
              .narrowed=${(pattern: string, expression: boolean) => `/logs?source=${source}&q=${encodeURIComponent(pattern)}${expression ? '&regex=1' : ''}`}></mg-log>`}
      </mg-state>`;
  }
}
