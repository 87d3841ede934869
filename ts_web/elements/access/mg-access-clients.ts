import { css, html } from 'lit';
import { customElement } from 'lit/decorators.js';
import { MgElement } from '../../kit/element.ts';
import '../../kit/states.ts';

/** Access ▸ Clients: the place that is kept for limits and labels of each consumer. */
@customElement('mg-access-clients')
export class MgAccessClients extends MgElement {
  static override styles = [MgElement.styles, css`:host { display: block; }`];

  protected override render(): unknown {
    return html`<h1 class="visually-hidden">Clients</h1>
      <mg-empty heading="Not yet configured" icon="user">
        <p>Limits, quotas and labels of each consumer will be here. Until then <a href="/access/apikeys">API keys</a> carry the limits.</p>
      </mg-empty>`;
  }
}
