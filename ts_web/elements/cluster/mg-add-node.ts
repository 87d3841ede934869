import { css, html } from 'lit';
import { customElement } from 'lit/decorators.js';
import { state } from '../../appstate.ts';
import '../../kit/copy.ts';
import '../../kit/dialog.ts';
import { MgElement } from '../../kit/element.ts';

/** What to do before this node can take others in. Emits `mg-close`. */
@customElement('mg-add-node')
export class MgAddNode extends MgElement {
  static override styles = [MgElement.styles, css`p { margin-bottom: 12px; } mg-command { margin-bottom: 12px; }`];

  override connectedCallback(): void {
    super.connectedCallback();
    this.whileConnected(() => state.overview.hold());
  }

  protected override render(): unknown {
    const overview = state.overview.value;
    return html`<mg-dialog open heading="Add a node" @mg-close=${(event: Event) => (event.stopPropagation(), this.emit('mg-close', undefined))}>
      <p>
        <b>${overview?.node ?? 'This node'}</b> is ${overview?.role === 'standalone' ? 'a standalone node: it runs its own models and takes no others in' : `a ${overview?.role ?? ''}`}.
        Joining several nodes is not there yet.
      </p>
      <p class="muted">Until it is, each machine can run ModelGrid on its own, behind a load balancer. On the new machine:</p>
      <mg-command text="modelgrid service enable"></mg-command>
    </mg-dialog>`;
  }
}
