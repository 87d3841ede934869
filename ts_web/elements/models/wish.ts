import { quoted, type Spoken } from '../../commands.ts';
import type { Schemas } from '../../data/client.ts';

type TargetBody = Schemas['TargetBody'];

/** What was typed into the deploy dialog, as text; empty is the default of each. */
export interface Typed {
  readonly node: string;
  readonly replicas: string;
  readonly context: string;
  readonly env: string;
  readonly vendor: string;
  readonly labels: string;
  readonly pack: string;
  readonly exclusive: string;
}

export const UNTYPED: Typed = { node: '', replicas: '1', context: '', env: '', vendor: '', labels: '', pack: '', exclusive: '' };

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
export function wishOf(typed: Typed): TargetBody {
  const wish: Partial<TargetBody> = { replicas: Number(typed.replicas) || 0 };
  if (typed.node) wish.node = typed.node;
  if (typed.vendor) wish.vendor = typed.vendor as NonNullable<TargetBody['vendor']>;
  if (typed.labels.trim()) wish.labels = pairs(words(typed.labels));
  if (typed.pack === 'true') wish.pack = true;
  if (typed.exclusive === 'true') wish.exclusive = true;
  if (typed.context) wish.context = Number(typed.context);
  const env = pairs(typed.env.split('\n'));
  if (Object.keys(env).length) wish.env = env;
  return wish as TargetBody;
}

/** The same as a command; values of the environment are not shown. */
export function spokenWish(model: string, typed: Typed): Spoken {
  const wish = wishOf(typed);
  const names = Object.keys(wish.env ?? {});
  const flags = [
    wish.node ? ` --node ${quoted(wish.node)}` : '',
    wish.vendor ? ` --vendor ${wish.vendor}` : '',
    ...Object.entries(wish.labels ?? {}).map((pair) => ` --label ${quoted(pair.join('='))}`),
    wish.pack ? ' --pack' : '',
    wish.exclusive ? ' --exclusive' : '',
    typed.replicas !== '1' ? ` --replicas ${typed.replicas}` : '',
    wish.context ? ` --context ${wish.context}` : '',
    ...names.map((name) => ` --env ${quoted(name)}`),
  ].join('');
  const env = names.length ? { env: Object.fromEntries(names.map((name) => [name, `$${name}`])) } : {};
  return { cli: `modelgrid run ${quoted(model)}${flags}`, method: 'PUT', path: `targets/${model}`, body: { ...wish, ...env } };
}
