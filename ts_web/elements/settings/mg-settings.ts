import { html, nothing } from 'lit';
import { customElement, state as internal } from 'lit/decorators.js';
import { api, body, call, type Schemas } from '../../data/client.ts';
import { asFailure, type Failure } from '../../data/failure.ts';
import { LiveDocument } from '../../data/live.ts';
import '../../kit/badge.ts';
import '../../kit/card.ts';
import { confirm } from '../../kit/dialog.ts';
import { MgElement } from '../../kit/element.ts';
import '../../kit/field.ts';
import { plural } from '../../kit/format.ts';
import { icon } from '../../kit/icons.ts';
import '../../kit/states.ts';
import { toast } from '../../kit/toast.ts';
import './mg-settings-diff.ts';
import { settingsStyles } from './mg-settings.css.ts';
import { parsed, patchOf, settingOf, textOf, valueAt, type Schema, type Setting } from './setting.ts';

type ConfigView = Schemas['ConfigView'];

const GROUPS: readonly (readonly [section: string, title: string, about: string])[] = [
  ['', 'Node', 'This machine'],
  ['api', 'API', 'The gateway and the console'],
  ['docker', 'Docker', 'How engines are started'],
  ['gpus', 'GPUs', 'Which are used, and for what'],
  ['models', 'Models', 'Where the catalog comes from, what loads by itself'],
  ['cluster', 'Cluster', 'This node among others'],
];
/** Edited in the file: each is a whole deployment. */
const FILE_ONLY: readonly string[] = ['containers'];

/** Settings: config.json as forms. What was typed stays until it is saved or taken back, whatever the network does. */
@customElement('mg-settings')
export class MgSettings extends MgElement {
  static override styles = [MgElement.styles, settingsStyles];

  readonly #config = new LiveDocument<ConfigView>('config', () => call(api.GET('/v1/_ui/config')));
  @internal() private schema: Schema | null = null;
  @internal() private typed: ReadonlyMap<string, string> = new Map();
  @internal() private errors: ReadonlyMap<string, string> = new Map();
  @internal() private failure: Failure | null = null;
  @internal() private diff: readonly Schemas['ConfigChange'][] | null = null;
  @internal() private busy = false;

  override connectedCallback(): void {
    super.connectedCallback();
    this.whileConnected(() => this.#config.hold());
    void this.#loadSchema();
  }

  async #loadSchema(): Promise<void> {
    try {
      this.schema = (await body(api.GET('/v1/_ui/config/schema'))) as Schema;
    } catch (error) {
      this.failure = asFailure(error);
    }
  }

  #type(setting: Setting, text: string): void {
    const typed = new Map(this.typed);
    if (text === textOf(setting, valueAt(this.#config.value?.config ?? {}, setting.key))) typed.delete(setting.key);
    else typed.set(setting.key, text);
    this.typed = typed;
    const errors = new Map(this.errors);
    errors.delete(setting.key);
    this.errors = errors;
  }

  /** The patch of what was typed; null after saying beside the field what cannot be read. */
  #patch(): Record<string, unknown> | null {
    const values = new Map<string, unknown>();
    const errors = new Map<string, string>();
    for (const [key, text] of this.typed) {
      try {
        values.set(key, parsed(settingOf(this.schema ?? {}, key), text));
      } catch {
        errors.set(key, 'This is not valid JSON.');
      }
    }
    this.errors = errors;
    return errors.size ? null : patchOf(values);
  }

  /** Ask the daemon what would change, or change it. */
  async #send(dryRun: boolean): Promise<void> {
    const patch = this.#patch();
    if (!patch || this.busy) return;
    this.busy = true;
    this.failure = null;
    try {
      const done = await body(
        api.PATCH('/v1/_ui/config', {
          params: { query: { dry_run: dryRun }, header: { 'if-match': `"${this.#config.value?.etag ?? ''}"` } },
          body: patch as Schemas['ConfigPatch'],
        }),
      );
      if (dryRun) this.diff = done.diff;
      else {
        this.diff = null;
        this.typed = new Map();
        const later = done.diff.filter((change) => change.restart_required).length;
        toast({ text: `${plural(done.diff.length, 'setting')} saved.${later ? ` ${later} of them from the next restart.` : ''}` });
        await this.#config.refresh();
      }
    } catch (error) {
      this.diff = null;
      this.#refused(asFailure(error));
    }
    this.busy = false;
  }

  #refused(failure: Failure): void {
    const errors = (failure.details['errors'] ?? []) as readonly Schemas['ConfigProblem'][];
    this.errors = new Map(errors.map((error) => [error.path, `${error.message}${error.expected ? `. Expected: ${error.expected}` : ''}`]));
    this.failure = failure;
    if (failure.status === 412 || failure.status === 409) void this.#config.refresh();
  }

  async #restart(): Promise<void> {
    const sure = await confirm({
      heading: 'Restart the daemon?',
      text: 'Control starts anew and the gateways are replaced one for one. No request is lost, engines run on; this page is not live for some seconds.',
      verb: 'Restart',
      danger: false,
    });
    if (!sure) return;
    try {
      await body(api.POST('/v1/_ui/daemon/restart'));
      toast({ text: 'The daemon restarts.', kind: 'maintenance' });
    } catch (error) {
      this.failure = asFailure(error);
    }
  }

  #field(setting: Setting, view: ConfigView): unknown {
    const name = setting.key.split('.').at(-1) ?? setting.key;
    const before = textOf(setting, valueAt(view.config, setting.key));
    const value = this.typed.get(setting.key) ?? before;
    const set = setting.kind === 'secret' && valueAt(view.config, setting.key) ? 'A secret is set. Type to replace it.' : '';
    const fallback = textOf(setting, view.defaults[setting.key]);
    const waits = view.pending_restart.some((change) => change.path === setting.key);
    const kind = { secret: 'password', lines: 'textarea', json: 'textarea' }[setting.kind as string] ?? setting.kind;
    return html`<div class="setting">
      <mg-field
        label=${name}
        kind=${kind}
        .value=${value}
        .options=${[...(setting.nullable ? [{ value: '', label: 'not set' }] : []), ...setting.options.map((option) => ({ value: option, label: option }))]}
        placeholder=${set ? '••••••••' : setting.kind === 'switch' ? '' : fallback.length < 80 ? fallback : ''}
        help=${[setting.help, set, setting.kind === 'lines' ? 'One per line.' : ''].filter(Boolean).join(' ')}
        error=${this.errors.get(setting.key) ?? ''}
        autocomplete=${setting.kind === 'secret' ? 'new-password' : ''}
        @mg-input=${(event: CustomEvent<string>) => this.#type(setting, event.detail)}
      ></mg-field>
      ${waits || view.applies[setting.key] === 'restart' ? html`<mg-badge tone=${waits || this.typed.has(setting.key) ? 'warning' : 'idle'}>restart required</mg-badge>` : nothing}
    </div>`;
  }

  #group([section, title, about]: (typeof GROUPS)[number], view: ConfigView): unknown {
    const schema = this.schema;
    const keys = Object.keys(view.applies).filter((key) => !FILE_ONLY.includes(key) && (section ? key.startsWith(`${section}.`) : !key.includes('.')));
    if (!schema || keys.length === 0) return nothing;
    return html`<mg-card heading=${title} note=${about}><div class="fields">${keys.map((key) => this.#field(settingOf(schema, key), view))}</div></mg-card>`;
  }

  #top(view: ConfigView): unknown {
    const waits = view.pending_restart.filter((change) => change.restart_required);
    return html`${view.problem ? html`<div class="banner critical" role="alert"><p><b>${view.path} is refused as it is:</b> ${view.problem} The last good configuration holds.</p></div>` : nothing}
      ${this.failure ? html`<div class="banner critical" role="alert"><p><b>${this.failure.message}</b> ${this.failure.fix}</p></div>` : nothing}
      ${waits.length
        ? html`<div class="banner warning">
            <p><b>Restart required</b> for ${waits.map((change) => change.path).join(', ')}.</p>
            <button type="button" class="btn" @click=${() => void this.#restart()}>${icon('refresh')} Restart daemon</button>
          </div>`
        : nothing}`;
  }

  protected override render(): unknown {
    const view = this.#config.value;
    const many = this.typed.size;
    return html`<h1 class="visually-hidden">Settings</h1>
      <mg-state .source=${this.#config} rows="8">
        ${view
          ? html`${this.#top(view)}
              <p class="about">Written to <code class="mono">${view.path}</code>. Deployments named in the file (<code class="mono">containers</code>) are edited there.</p>
              <div class="grid">${GROUPS.map((group) => this.#group(group, view))}</div>`
          : nothing}
      </mg-state>
      ${many
        ? html`<div class="save" role="region" aria-label="Unsaved settings">
            <span>${plural(many, 'setting')} changed</span>
            <button type="button" class="btn" @click=${() => ((this.typed = new Map()), (this.errors = new Map()), (this.failure = null))}>Discard</button>
            <button type="button" class="btn primary" ?disabled=${this.busy} @click=${() => void this.#send(true)}>Review and save</button>
          </div>`
        : nothing}
      ${this.diff ? html`<mg-settings-diff .diff=${this.diff} .file=${view} .busy=${this.busy} @mg-close=${() => (this.diff = null)} @mg-save=${() => void this.#send(false)}></mg-settings-diff>` : nothing}`;
  }
}
