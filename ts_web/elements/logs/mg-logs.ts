import { css, html, type PropertyValues } from 'lit';
import { customElement } from 'lit/decorators.js';
import { LogFeed } from '../../data/log-feed.ts';
import { exportOf, spokenLog } from '../../data/log-wish.ts';
import { daemonTime } from '../../kit/clock.ts';
import { MgElement } from '../../kit/element.ts';
import { lineAt } from '../../kit/log/rows.ts';
import '../../kit/log/mg-log.ts';
import '../../kit/states.ts';
import { hrefWith, param } from '../../router.ts';
import './mg-log-filters.ts';
import { wishKey, wishOfAddress } from './wish-of-address.ts';

/** What is typed into the filter is asked for after this silence. */
const TYPING_MS = 300;

const onlyThese = (q: string, expression: boolean): string =>
  hrefWith({ q, regex: expression ? 1 : null, find: null, expression: null, line: null });

/** Logs: what the daemon, the scheduler, the gateways and every engine say, in one order. */
@customElement('mg-logs')
export class MgLogs extends MgElement {
  static override styles = [
    MgElement.styles,
    css`
      :host { display: flex; flex-direction: column; gap: 10px; height: calc(100dvh - 48px - 32px); min-height: 360px; }
      mg-state { flex: 1; min-height: 0; }
      mg-log { flex: 1; }
      @media (max-width: 760px) { :host { height: auto; } mg-log { height: calc(100dvh - 130px); flex: none; } }
      @media print { :host { height: auto; } }
    `,
  ];

  #feed: LogFeed | undefined;
  #key: string | undefined;
  /** The line that the address named the last time. */
  #line = 0;
  #release: (() => void) | undefined;
  #typing: ReturnType<typeof setTimeout> | undefined;

  override connectedCallback(): void {
    super.connectedCallback();
    this.whileConnected(() => () => {
      clearTimeout(this.#typing);
      this.#release?.();
      this.#key = undefined;
    });
  }

  protected override willUpdate(_: PropertyValues): void {
    const key = wishKey();
    const line = Number(param('line')) || 0;
    const feed = this.#feed;
    const elsewhere = line > 0 && line !== this.#line && feed?.loaded && !lineAt(feed.lines, line);
    this.#line = line;
    if (key === this.#key && !elsewhere) return;
    clearTimeout(this.#typing);
    const typed = this.#key !== undefined && param('q') !== feed?.wish.text;
    if (!typed) this.#open(key, line);
    else
      this.#typing = setTimeout(() => {
        this.#open(wishKey(), line);
        this.requestUpdate();
      }, TYPING_MS);
  }

  #open(key: string, line: number): void {
    const feed = new LogFeed(wishOfAddress(daemonTime()), line);
    const release = this.#release;
    this.#key = key;
    this.#feed = feed;
    this.#release = feed.hold();
    release?.();
  }

  protected override render(): unknown {
    const feed = this.#feed;
    if (!feed) return html``;
    const sources = param('source').split(',').filter(Boolean);
    const one = sources.length === 1 && sources[0]?.startsWith('deployment:');
    return html`<h1 class="visually-hidden">Logs</h1>
      <mg-log-filters .sources=${sources}></mg-log-filters>
      <mg-state fill .source=${feed} rows="12">
        <mg-log label="Log" .source=${feed} ?named=${!one} exported=${exportOf(feed.wish)} spoken=${spokenLog(feed.wish)} .narrowed=${onlyThese}></mg-log>
      </mg-state>`;
  }
}
