import { computed, effect, signal, type ReadonlySignal } from '@preact/signals-core';
import type { Source } from '../kit/states.ts';
import { daemonTime } from '../kit/clock.ts';
import type { Point } from '../kit/sparkline.ts';
import { api, body, type Schemas } from './client.ts';
import { asFailure, type Failure } from './failure.ts';
import { paused, stale as streamStale } from './stream.ts';

export type Series = Schemas['SeriesView'];

/** Seconds between two questions at most, however long a step is. */
const SLOWEST = 30;

/**
 * Series that stay current by being asked for again every few seconds while somebody holds them, the page is visible
 * and nothing is paused: they are far too many figures to push to everyone.
 */
export class LiveSeries implements Source {
  readonly #items = signal<readonly Series[]>([]);
  readonly #failure = signal<Failure | null>(null);
  readonly #confirmedAt = signal(0);
  #holders = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #unwatch: (() => void) | undefined;

  /** The last `seconds`, or those before `until`, which nothing changes any more; all series, or those with these labels. */
  constructor(
    private readonly names: readonly string[],
    private readonly seconds: number,
    private readonly step: number,
    private readonly only: { readonly labels?: Readonly<Record<string, string>>; readonly until?: number } = {},
  ) {}

  /** All series, each with its labels. */
  readonly items: ReadonlySignal<readonly Series[]> = computed(() => this.#items.value);

  get loaded(): boolean {
    return this.#confirmedAt.value > 0;
  }
  get problem(): string {
    return this.#failure.value?.message ?? '';
  }
  get fix(): string {
    return this.#failure.value?.fix ?? '';
  }
  get stale(): boolean {
    return this.loaded && streamStale.value;
  }
  get confirmedAt(): number {
    return this.#confirmedAt.value;
  }

  /** The points of a series of the whole fleet. */
  points(name: string): readonly Point[] {
    return this.#items.value.find((one) => one.name === name)?.points ?? [];
  }

  hold(): () => void {
    this.#holders += 1;
    if (this.#holders === 1) {
      this.reload();
      this.#unwatch = effect(() => {
        if (!paused.value && !streamStale.value && this.only.until === undefined) this.#soon();
      });
    }
    return () => {
      this.#holders -= 1;
      if (this.#holders > 0) return;
      clearTimeout(this.#timer);
      this.#unwatch?.();
    };
  }

  reload(): void {
    void this.#load();
  }

  #soon(): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => void this.#again(), Math.min(this.step, SLOWEST) * 1000);
  }

  async #again(): Promise<void> {
    if (paused.peek() || this.#holders === 0) return;
    if (!document.hidden) await this.#load();
    if (this.#holders > 0) this.#soon();
  }

  async #load(): Promise<void> {
    try {
      const until = this.only.until ?? daemonTime();
      const query = { name: [...this.names], since: Math.max(0, until - this.seconds), until, step: this.step, ...this.only.labels };
      this.#items.value = (await body(api.GET('/v1/_ui/metrics/series', { params: { query } }))).items as Series[];
      this.#failure.value = null;
      this.#confirmedAt.value = daemonTime();
    } catch (error) {
      this.#failure.value = asFailure(error);
    }
  }
}

/** The newest value of a series that is not older than `within` seconds; `null` when there is none. */
export function latest(points: readonly Point[], within: number): number | null {
  const after = (points.at(-1)?.[0] ?? 0) - within;
  for (let i = points.length - 1; i >= 0 && (points[i]?.[0] ?? 0) >= after; i -= 1) {
    const value = points[i]?.[1];
    if (value !== null && value !== undefined) return value;
  }
  return null;
}

/** One series divided by another, point by point; where the divisor is zero or unknown there is no value. */
export function quotient(over: readonly Point[], under: readonly Point[]): Point[] {
  const divisor = new Map(under);
  return over.map(([at, value]) => {
    const by = divisor.get(at);
    return [at, value === null || !by ? null : value / by];
  });
}
