import { css, html, nothing } from 'lit';
import { customElement, property } from 'lit/decorators.js';
import { state } from '../../appstate.ts';
import '../../kit/copy.ts';
import { MgElement } from '../../kit/element.ts';
import { icon } from '../../kit/icons.ts';
import '../../kit/states.ts';
import '../../kit/time.ts';
import { controlPlane, type ControlPlane } from './control-plane.ts';

/** On a worker, in place of a view of the whole cluster: who decides, and the way there. */
@customElement('mg-elsewhere')
export class MgElsewhere extends MgElement {
  static override styles = [
    MgElement.styles,
    css`
      :host { display: block; }
      .problem { color: var(--warning); overflow-wrap: anywhere; }
    `,
  ];

  /** What is decided there: `Where models run`. */
  @property() what = '';

  override connectedCallback(): void {
    super.connectedCallback();
    this.whileConnected(() => state.cluster.hold());
  }

  protected override render(): unknown {
    const place = state.cluster.value;
    if (!place) return nothing;
    const there = controlPlane.value;
    if (!there) {
      return html`<mg-empty heading="This worker has no control plane yet" icon="cluster">
        <p>Until it has joined one, nothing is placed here. “Add node” in the control plane’s console gives the command:</p>
        <mg-command text="modelgrid cluster join URL INVITATION"></mg-command>
      </mg-empty>`;
    }
    return html`<mg-empty heading=${`Decided by ${there.name}`} icon="cluster">
      <p>${this.what} is decided for the whole cluster by its control plane. ${place.node} shows what it runs itself: <a href="/deployments/active">its deployments</a>, <a href="/gpus/devices">its GPUs</a>.</p>
      ${place.problem
        ? html`<p class="problem">${there.name} does not answer: ${place.problem}${place.answered_at ? html` It last did <mg-time .at=${place.answered_at}></mg-time>.` : nothing}</p>`
        : nothing}
      ${this.#way(there)}
    </mg-empty>`;
  }

  #way(there: ControlPlane): unknown {
    if (!there.console) return html`<p>${there.name} has not said yet where its console is.</p>`;
    if (!there.isPrivate) {
      return html`<a class="btn primary" href=${there.console} target="_blank" rel="noreferrer">Open ${there.name}’s console ${icon('external')}</a>`;
    }
    const { port, protocol } = new URL(there.console);
    return html`<p>Its console listens on its own machine alone, unless <code class="mono">api.uiHost</code> there says otherwise.
        This leads there, to ${protocol}//127.0.0.1:9081:</p>
      <mg-command text=${`ssh -L 9081:127.0.0.1:${port} ${there.host}`}></mg-command>`;
  }
}
