import { effect } from '@preact/signals-core';
import { LitElement, type CSSResultGroup } from 'lit';
import { base } from './base.css.ts';

/** The base of every element: renders again when a signal it read has changed, and carries the shared styles. */
export class MgElement extends LitElement {
  static override styles: CSSResultGroup = base;

  #stop: (() => void) | undefined;
  #releases: (() => void)[] = [];

  /** Run once for as long as the element is in the page; what it returns ends it. */
  protected whileConnected(start: () => () => void): void {
    this.#releases.push(start());
  }

  override connectedCallback(): void {
    super.connectedCallback();
    this.requestUpdate();
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback();
    this.#stop?.();
    this.#stop = undefined;
    for (const release of this.#releases.splice(0)) release();
  }

  protected override performUpdate(): void {
    if (!this.isUpdatePending) return;
    this.#stop?.();
    let rendering = true;
    this.#stop = effect(() => {
      if (rendering) {
        rendering = false;
        super.performUpdate();
      } else {
        this.requestUpdate();
      }
    });
  }

  protected emit<T>(name: string, detail: T): void {
    this.dispatchEvent(new CustomEvent<T>(name, { detail, bubbles: true, composed: true }));
  }
}
