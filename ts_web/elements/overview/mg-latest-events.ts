import { css, html, nothing } from 'lit';
import { customElement, state as internal } from 'lit/decorators.js';
import { state } from '../../appstate.ts';
import { api, body, type Schemas } from '../../data/client.ts';
import { asFailure } from '../../data/failure.ts';
import '../../kit/card.ts';
import { MgElement } from '../../kit/element.ts';
import { kindOf, shape } from '../../kit/status.ts';
import '../../kit/time.ts';

type Event = Schemas['EventView'];

const MOST = 8;
const CALM_MS = 1_500;

/** What happened last, anywhere. Asked for anew, at most every second or two, when a deployment or node changes. */
@customElement('mg-latest-events')
export class MgLatestEvents extends MgElement {
  static override styles = [
    MgElement.styles,
    css`
      li { display: grid; grid-template-columns: 14px 1fr auto; align-items: baseline; gap: 8px; padding: 6px 0; border-top: 1px solid var(--hairline); }
      li:first-child { border-top: 0; }
      .shape { width: 10px; height: 10px; }
      .critical { color: var(--critical); }
      .warning { color: var(--warning); }
      .idle { color: var(--text-3); }
      .what { min-width: 0; overflow-wrap: anywhere; }
      .whom { color: var(--text-2); }
      mg-time { color: var(--text-3); font-size: 12px; }
      p { color: var(--text-2); }
    `,
  ];

  @internal() private events: readonly Event[] | null = null;
  @internal() private problem = '';
  #timer: ReturnType<typeof setTimeout> | undefined;

  override connectedCallback(): void {
    super.connectedCallback();
    void this.#load();
    this.whileConnected(() => {
      const soon = (): void => {
        this.#timer ??= setTimeout(() => void this.#load(), CALM_MS);
      };
      let begun = false; // a subscription tells at once what is there already
      const changed = (): void => void (begun && soon());
      const stops = [state.deployments.items.subscribe(changed), state.nodes.items.subscribe(changed)];
      begun = true;
      return () => {
        for (const stop of stops) stop();
        clearTimeout(this.#timer);
        this.#timer = undefined;
      };
    });
  }

  async #load(): Promise<void> {
    this.#timer = undefined;
    try {
      this.events = (await body(api.GET('/v1/_ui/timeline', { params: { query: { limit: MOST } } }))).items;
      this.problem = '';
    } catch (error) {
      this.problem = asFailure(error).message;
    }
  }

  #event(event: Event): unknown {
    const kind = event.level === 'error' || event.level === 'warning' ? kindOf(event.level) : 'idle';
    return html`<li>
      <span class=${kind} title=${event.level}>${shape(kind)}</span>
      <span class="what clamp"><span class="whom">${event.subject_id}</span> ${event.message}${event.by ? html` <span class="faint">by ${event.by}</span>` : nothing}</span>
      <mg-time .at=${event.at}></mg-time>
    </li>`;
  }

  protected override render(): unknown {
    return html`<mg-card heading="Latest events">
      ${this.problem ? html`<p role="alert">${this.problem}</p>` : nothing}
      ${this.events ? (this.events.length ? html`<ol>${this.events.map((event) => this.#event(event))}</ol>` : html`<p>Nothing has happened yet.</p>`) : nothing}
    </mg-card>`;
  }
}
