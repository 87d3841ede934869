import { quoted, Variable, type Spoken } from '../../commands.ts';
import type { Schemas } from '../../data/client.ts';

type TargetBody = Schemas['TargetBody'];

/** What was typed into the deploy dialog, as text; empty is the default of each. */
export interface Typed {
  readonly node: string;
  readonly replicas: string;
  readonly context: string;
  readonly gpus: string;
  readonly concurrency: string;
  readonly env: string;
  readonly vendor: string;
  readonly labels: string;
  readonly pack: string;
  readonly exclusive: string;
  /** Code of the model's repository may run. */
  readonly trust: string;
}

export const UNTYPED: Typed = { node: '', replicas: '1', context: '', gpus: '', concurrency: '', env: '', vendor: '', labels: '', pack: '', exclusive: '', trust: '' };

type Spec = Schemas['EngineSpec'];

/** What has no field in the dialog; of a deployment that is made again it is taken over as it was. */
export type Kept = Pick<TargetBody, 'args' | 'image' | 'runtime' | 'mounts'>;

/** The settings of a deployment as they would be typed. The values of its environment are not known any more. */
export function typedOf(spec: Spec): Typed {
  const env = Object.keys(spec.env ?? {}).map((name) => `${name}=`);
  const text = (value: number | null | undefined): string => (value == null ? '' : String(value));
  return { ...UNTYPED, context: text(spec.context), gpus: text(spec.gpu_count), concurrency: text(spec.concurrency), env: env.join('\n'), trust: spec.trust_remote_code ? 'true' : '' };
}

/** What of them has no field; without what is at its default. */
export function keptOf(spec: Spec): Partial<Kept> {
  return {
    ...(spec.args?.length ? { args: spec.args } : {}),
    ...(spec.image ? { image: spec.image } : {}),
    ...(spec.runtime ? { runtime: spec.runtime } : {}),
    ...(spec.mounts?.length ? { mounts: spec.mounts } : {}),
  };
}

/** The same as flags of `modelgrid run`. */
function flagsOf(kept: Partial<Kept>): string {
  return [
    ...(kept.args ?? []).map((arg) => ` --arg=${quoted(arg)}`),
    kept.image ? ` --image ${quoted(kept.image)}` : '',
    ...(kept.mounts ?? []).map((mount) => ` --mount ${quoted(`${mount.source}:${mount.target}${mount.read_only === false ? ':rw' : ''}`)}`),
  ].join('');
}

/** Names that an environment has without a value: they have to be typed again. */
export function emptyNames(env: string): readonly string[] {
  return Object.entries(pairs(env.split('\n'))).flatMap(([name, value]) => (value === '' ? [name] : []));
}

const words = (text: string): readonly string[] => text.split(/[\s,]+/).filter(Boolean);

function pairs(texts: readonly string[]): Record<string, string> {
  const found = texts.filter((text) => text.indexOf('=') > 0);
  return Object.fromEntries(found.map((text) => [text.slice(0, text.indexOf('=')).trim(), text.slice(text.indexOf('=') + 1)]));
}

/** Why the labels cannot be meant; empty when they can. */
export function labelsProblem(text: string): string {
  const wrong = words(text).find((word) => !/^[^=]+=[^=]*$/.test(word));
  return wrong === undefined ? '' : `“${wrong}” is not name=value.`;
}

/** What the daemon is asked for. What was not typed is left out, so that its default is taken. */
export function wishOf(typed: Typed, kept: Partial<Kept> = {}): TargetBody {
  const wish: Partial<TargetBody> = { ...kept, replicas: Number(typed.replicas) || 0 };
  if (typed.node) wish.node = typed.node;
  if (typed.vendor) wish.vendor = typed.vendor as NonNullable<TargetBody['vendor']>;
  if (typed.labels.trim()) wish.labels = pairs(words(typed.labels));
  if (typed.pack === 'true') wish.pack = true;
  if (typed.exclusive === 'true') wish.exclusive = true;
  if (typed.trust === 'true') wish.trust_remote_code = true;
  if (typed.context) wish.context = Number(typed.context);
  if (typed.gpus) wish.gpu_count = Number(typed.gpus);
  if (typed.concurrency) wish.concurrency = Number(typed.concurrency);
  const env = pairs(typed.env.split('\n'));
  if (Object.keys(env).length) wish.env = env;
  return wish as TargetBody;
}

/** The same as a command; values of the environment are not shown. */
export function spokenWish(model: string, typed: Typed, kept: Partial<Kept> = {}): Spoken {
  const wish = wishOf(typed, kept);
  const names = Object.keys(wish.env ?? {});
  const flags = [
    wish.node ? ` --node ${quoted(wish.node)}` : '',
    wish.vendor ? ` --vendor ${wish.vendor}` : '',
    ...Object.entries(wish.labels ?? {}).map((pair) => ` --label ${quoted(pair.join('='))}`),
    wish.pack ? ' --pack' : '',
    wish.exclusive ? ' --exclusive' : '',
    wish.trust_remote_code ? ' --trust-remote-code' : '',
    typed.replicas !== '1' ? ` --replicas ${typed.replicas}` : '',
    wish.context ? ` --context ${wish.context}` : '',
    wish.gpu_count != null ? ` --gpus ${wish.gpu_count}` : '',
    wish.concurrency ? ` --concurrency ${wish.concurrency}` : '',
    ...names.map((name) => ` --env ${quoted(name)}`),
    flagsOf(kept),
  ].join('');
  const env = names.length ? { env: Object.fromEntries(names.map((name) => [name, new Variable(name)])) } : {};
  return { cli: `modelgrid run ${quoted(model)}${flags}`, method: 'PUT', path: `targets/${model}`, body: { ...wish, ...env } };
}
