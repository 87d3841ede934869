import { computed, signal, type ReadonlySignal } from '@preact/signals-core';
import type { Source } from '../kit/states.ts';
import { daemonTime } from '../kit/clock.ts';
import type { Answer } from './client.ts';
import { asFailure, type Failure } from './failure.ts';
import { follow, stale as streamStale } from './stream.ts';
import { atOrBefore, type Change } from './stream/protocol.ts';

/** A document of another node is asked for so often. */
const ELSEWHERE_MS = 2_000;

/**
 * Data that stays current: loaded by REST, then kept so by changes of the stream that are younger than the answer.
 * It is loaded while somebody holds it, and kept (as old) afterwards, so that coming back shows it at once.
 */
export abstract class Live implements Source {
  readonly #loaded = signal(false);
  readonly #failure = signal<Failure | null>(null);
  readonly #outdated = signal(false);
  readonly #confirmedAt = signal(0);
  #holders = 0;
  #unfollow: (() => void) | undefined;
  #turn = 0;
  #loading = false;
  #position = '';
  #early: Change[] = [];

  protected constructor(private readonly topic: string) {}

  /** Fetch and take over what is there unless it is not `wanted` any more by then; returns the position of the answer. */
  protected abstract load(wanted: () => boolean): Promise<string>;
  protected abstract apply(changes: readonly Change[]): void;

  get loaded(): boolean {
    return this.#loaded.value;
  }
  get problem(): string {
    return this.#failure.value?.message ?? '';
  }
  get fix(): string {
    return this.#failure.value?.fix ?? '';
  }
  get failure(): Failure | null {
    return this.#failure.value;
  }
  get stale(): boolean {
    return this.#loaded.value && ((this.#outdated.value && this.#failure.value !== null) || streamStale.value);
  }
  get confirmedAt(): number {
    return this.#confirmedAt.value;
  }

  /** Keep it current until the returned function is called. */
  hold(): () => void {
    this.#holders += 1;
    if (this.#holders === 1) {
      this.#unfollow = follow(this.topic, {
        changes: (changes) => this.#changed(changes),
        reset: () => this.reload(),
        revived: () => {
          if (this.#failure.value) this.reload();
        },
      });
      this.reload();
    }
    let held = true;
    return () => {
      if (!held) return;
      held = false;
      this.#holders -= 1;
      if (this.#holders > 0) return;
      this.#unfollow?.();
      this.#outdated.value = true;
    };
  }

  /** Whether somebody holds it. */
  protected get held(): boolean {
    return this.#holders > 0;
  }

  /** Load anew; what is there stays, marked as old, until the answer comes. */
  reload(): void {
    void this.refresh();
  }

  async refresh(): Promise<void> {
    const turn = ++this.#turn;
    this.#loading = true;
    this.#outdated.value = this.#loaded.value;
    this.#early = [];
    try {
      const position = await this.load(() => turn === this.#turn);
      if (turn !== this.#turn) return;
      this.#position = position;
      this.#failure.value = null;
      this.#outdated.value = false;
      this.#confirmedAt.value = daemonTime();
      const early = this.#early.filter((change) => !atOrBefore(change.id, position));
      this.#loading = false;
      if (early.length) this.apply(early);
      this.#loaded.value = true;
    } catch (error) {
      const failure = asFailure(error);
      if (turn !== this.#turn) return;
      this.#loading = false;
      this.#failure.value = failure;
      this.#outdated.value = true;
    }
  }

  #changed(changes: readonly Change[]): void {
    if (this.#loading) {
      this.#early.push(...changes);
      return;
    }
    const young = changes.filter((change) => !atOrBefore(change.id, this.#position));
    if (young.length === 0 || !this.#loaded.value) return;
    this.#confirmedAt.value = daemonTime();
    this.apply(young);
  }
}

/** A list of objects by key: nodes, GPUs, deployments, targets, API keys. */
export class LiveCollection<T> extends Live {
  readonly #byKey = signal<ReadonlyMap<string, T>>(new Map());
  readonly items: ReadonlySignal<readonly T[]> = computed(() => [...this.#byKey.value.values()]);

  constructor(
    topic: string,
    private readonly keyOf: (item: T) => string,
    private readonly fetchAll: () => Promise<Answer<{ items: readonly T[] }>>,
  ) {
    super(topic);
  }

  /** The object with this key; `undefined` when there is none. Reads the signal. */
  get(key: string): T | undefined {
    return this.#byKey.value.get(key);
  }

  /** Take over an object that a call of ours answered with, before the stream says so. */
  put(item: T): void {
    this.#byKey.value = new Map(this.#byKey.value).set(this.keyOf(item), item);
  }

  protected async load(wanted: () => boolean): Promise<string> {
    const answer = await this.fetchAll();
    if (wanted()) this.#byKey.value = new Map(answer.data.items.map((item) => [this.keyOf(item), item]));
    return answer.position;
  }

  protected apply(changes: readonly Change[]): void {
    const next = new Map(this.#byKey.value);
    for (const change of changes) {
      if (change.op === 'remove') next.delete(change.key);
      else if (change.op === 'upsert') next.set(change.key, change.value as T);
      else if (change.op === 'append') for (const item of [change.value].flat() as T[]) next.set(this.keyOf(item), item);
    }
    this.#byKey.value = next;
  }
}

/** One object: the overview, the configuration, the catalog. */
export class LiveDocument<T> extends Live {
  readonly #value = signal<T | null>(null);
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(
    topic: string,
    private readonly fetchOne: () => Promise<Answer<T>>,
    /** Which of the documents of a topic with several. */
    private readonly key = topic,
  ) {
    super(topic);
  }

  /** The object; `null` before it was loaded. */
  get value(): T | null {
    return this.#value.value;
  }

  /** Take over what a call of ours answered with. */
  set(value: T): void {
    this.#value.value = value;
  }

  protected async load(wanted: () => boolean): Promise<string> {
    const answer = await this.fetchOne();
    if (wanted()) this.#value.value = answer.data;
    if (answer.node) this.#timer ??= setTimeout(() => this.#askAgain(), ELSEWHERE_MS);
    return answer.position;
  }

  /** What another node has comes by no stream: it is asked for as long as somebody looks. */
  #askAgain(): void {
    this.#timer = undefined;
    if (this.held) this.reload();
  }

  protected apply(changes: readonly Change[]): void {
    const last = changes.filter((change) => change.op === 'replace' && change.key === this.key).at(-1);
    if (last) this.#value.value = last.value as T;
  }
}
