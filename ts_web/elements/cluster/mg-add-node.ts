import { html, nothing, type PropertyValues } from 'lit';
import { customElement, state as internal } from 'lit/decorators.js';
import { state, type NodeView, type Schemas } from '../../appstate.ts';
import { configSet } from '../../commands.ts';
import { api, body } from '../../data/client.ts';
import { asFailure, type Failure } from '../../data/failure.ts';
import { now } from '../../kit/clock.ts';
import '../../kit/copy.ts';
import '../../kit/dialog.ts';
import { MgElement } from '../../kit/element.ts';
import { bytes } from '../../kit/format.ts';
import { icon } from '../../kit/icons.ts';
import '../../kit/status.ts';
import { toast } from '../../kit/toast.ts';
import { addNodeStyles } from './mg-add-node.css.ts';
import './mg-elsewhere.ts';

type JoinSnippet = Schemas['JoinSnippet'];

const RESTART = 'modelgrid service reload';

/** `14:05` until `at`; nothing when that is over. */
function remaining(at: number): string {
  const seconds = Math.max(0, Math.floor(at - now.value));
  return `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, '0')}`;
}

/** Whether an address is that of a machine for itself. */
function isLoopback(url: string): boolean {
  const { hostname } = new URL(url);
  return hostname === 'localhost' || hostname === '[::1]' || hostname.startsWith('127.');
}

/**
 * What to run on a machine so that it joins. It closes by itself when a node that was not there before is heard; where
 * this node takes no others in, it says what to do. Emits `mg-close`.
 */
@customElement('mg-add-node')
export class MgAddNode extends MgElement {
  static override styles = [MgElement.styles, addNodeStyles];

  @internal() private made: JoinSnippet | null = null;
  @internal() private failure: Failure | null = null;
  @internal() private busy = false;
  /** The nodes that were there when this opened. */
  #before: ReadonlySet<string> | null = null;
  /** The file of this daemon, where it takes no others in. */
  #file: Schemas['ConfigView'] | undefined;

  override connectedCallback(): void {
    super.connectedCallback();
    for (const source of [state.nodes, state.cluster]) this.whileConnected(() => source.hold());
    void this.#invite();
  }

  /** Know who is there before anybody is invited: whoever comes then is new. */
  async #invite(): Promise<void> {
    if (this.busy) return;
    this.busy = true;
    this.failure = null;
    try {
      this.#before ??= new Set((await body(api.GET('/v1/_ui/nodes'))).items.map((node) => node.name));
      this.made = await body(api.POST('/v1/_ui/nodes/join'));
    } catch (error) {
      await this.#refuse(asFailure(error));
    }
    this.busy = false;
  }

  /** What to do instead is said with the file that it is done to. */
  async #refuse(failure: Failure): Promise<void> {
    try {
      if (failure.details['role'] === 'standalone') this.#file = await body(api.GET('/v1/_ui/config'));
      this.failure = failure;
    } catch (error) {
      this.failure = asFailure(error);
    }
  }

  protected override updated(_: PropertyValues): void {
    if (!this.isConnected) return;
    const newcomer = state.nodes.items.value.find((node) => this.#before?.has(node.name) === false && node.liveness === 'ready');
    if (newcomer) this.#welcome(newcomer);
  }

  #welcome(node: NodeView): void {
    this.#before = null;
    const brings = node.gpus ? `${node.gpus} × ${node.gpu_models.join(', ')}, ${bytes(node.vram_total_bytes)}` : 'no GPU';
    toast({ text: `${node.name} has joined with ${brings}.`, kind: 'ok', link: { href: `/gpus/devices?q=${encodeURIComponent(node.name)}`, label: 'Its GPUs' }, seconds: 20 });
    this.emit('mg-close', undefined);
  }

  #standalone({ message }: Failure): unknown {
    return html`<p>${message} What runs here goes on as it is, and clients notice nothing.</p>
      <h3>1. Make it a control plane</h3>
      <mg-command label="the command that makes this node a control plane" text=${configSet(this.#file, 'cluster.role', 'control-plane')}></mg-command>
      <h3>2. Let other machines reach it</h3>
      <p class="muted">Nodes are answered on port 8082 of the address in <code class="mono">cluster.host</code>, over TLS. Without it, that of the API is taken.</p>
      <mg-command label="the command that lets other machines reach it" text=${configSet(this.#file, 'cluster.host', '0.0.0.0')}></mg-command>
      <h3>3. Restart the daemon, then open this again</h3>
      <mg-command label="the restart command" text=${RESTART}></mg-command>
      <p class="muted">The same is in <a href="/settings">Settings ▸ Cluster</a>.</p>`;
  }

  #refused(failure: Failure): unknown {
    if (failure.details['role'] === 'standalone') return this.#standalone(failure);
    if (failure.details['role'] === 'worker') return html`<p>${failure.message}</p><mg-elsewhere what="Who belongs to the cluster"></mg-elsewhere>`;
    return html`<p class="alert" role="alert">${failure.message} ${failure.fix}</p>
      <button type="button" class="btn" @click=${() => void this.#invite()}>${icon('refresh')} Try again</button>`;
  }

  #invitation(made: JoinSnippet): unknown {
    const over = made.expires_at <= now.value;
    return html`<div class="validity ${over ? 'over' : ''}">
        ${over
          ? html`<span role="status">This invitation has expired.</span>`
          : html`<span>Good for one node, for another <b class="left" role="timer">${remaining(made.expires_at)}</b></span>`}
        <button type="button" class="btn" ?disabled=${this.busy} @click=${() => void this.#invite()}>${icon('refresh')} Make a new one</button>
      </div>
      ${isLoopback(made.url)
        ? html`<p class="note">${made.url} is this machine for itself: nodes on other machines do not reach it. Set <code class="mono">cluster.host</code> in <a href="/settings">Settings ▸ Cluster</a>.</p>`
        : nothing}
      <div class=${over ? 'spent' : ''} ?inert=${over}>
        <h3>On a machine with ModelGrid</h3>
        <mg-command label="the join command" text=${made.command}></mg-command>
        <h3>On a machine without it</h3>
        <mg-command label="the install command" text=${made.install}></mg-command>
        <h3>What that writes into its config.json</h3>
        <mg-command label="the configuration" text=${made.config}></mg-command>
      </div>
      <p class="print muted">The invitation names this control plane’s certificate, so that the node gives its secret to nobody else. SHA-256: <code class="mono">${made.fingerprint}</code></p>
      ${over ? nothing : html`<p class="waiting"><mg-status kind="busy" wrap word="Waiting for the node’s first heartbeat. This closes by itself then."></mg-status></p>`}`;
  }

  protected override render(): unknown {
    // Read here, so that whoever comes renders again, and `updated` sees it.
    void state.nodes.items.value;
    return html`<mg-dialog open heading="Add a node" @mg-close=${(event: Event) => (event.stopPropagation(), this.emit('mg-close', undefined))}>
      ${this.failure ? this.#refused(this.failure) : this.made ? this.#invitation(this.made) : html`<p class="muted" role="status">Making an invitation …</p>`}
    </mg-dialog>`;
  }
}
