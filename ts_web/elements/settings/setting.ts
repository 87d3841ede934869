/** One key of config.json as a form field: what the schema says of it, and its value as text and back. */

export type SettingKind = 'text' | 'secret' | 'number' | 'switch' | 'select' | 'lines' | 'json';

export interface Setting {
  /** `api.rateLimit` */
  readonly key: string;
  readonly kind: SettingKind;
  readonly help: string;
  readonly options: readonly string[];
  /** Empty text means null. */
  readonly nullable: boolean;
}

export interface Schema {
  readonly $ref?: string;
  readonly $defs?: Readonly<Record<string, Schema>>;
  readonly type?: string;
  readonly enum?: readonly string[];
  readonly const?: string;
  readonly anyOf?: readonly Schema[];
  readonly items?: Schema;
  readonly description?: string;
  readonly properties?: Readonly<Record<string, Schema>>;
}

const SECRETS: readonly string[] = ['cluster.sharedSecret'];

export const isSecret = (key: string): boolean => SECRETS.includes(key);

/** The environment variable that a copied command takes a secret from: `SHARED_SECRET` of `cluster.sharedSecret`. */
export function variableOf(key: string): string {
  return (key.split('.').at(-1) ?? key).replaceAll(/[A-Z]/g, '_$&').toUpperCase();
}

/** Return the field for a dotted key. What is neither a scalar nor a list of words is edited as JSON. */
export function settingOf(root: Schema, key: string): Setting {
  const follow = (schema: Schema | undefined): Schema => {
    const name = schema?.$ref?.split('/').at(-1);
    return name ? { ...root.$defs?.[name], ...schema } : (schema ?? {});
  };
  let schema = follow(root);
  for (const part of key.split('.')) schema = follow(schema.properties?.[part]);
  const choices = (schema.anyOf ?? [schema]).map(follow);
  const nullable = choices.some((choice) => choice.type === 'null');
  const rest = choices.filter((choice) => choice.type !== 'null');
  const [only] = rest;
  return { key, nullable, help: inWords(schema.description ?? ''), options: only?.enum ?? (only?.const ? [only.const] : []), kind: kindOf(key, rest) };
}

/** What a description of the file says of a form: a field that is empty is `null`. */
function inWords(text: string): string {
  return text.replace(/ ?Restart required\./, '').replace(/\b(empty or null|null or empty)\b/i, 'empty').replace(/\bnull\b/gi, (word) => (word === 'Null' ? 'Empty' : 'empty'));
}

function kindOf(key: string, choices: readonly Schema[]): SettingKind {
  const [only] = choices;
  if (isSecret(key)) return 'secret';
  if (choices.length !== 1 || !only) return 'json';
  if (only.enum ?? only.const) return 'select';
  if (only.type === 'boolean') return 'switch';
  if (only.type === 'integer' || only.type === 'number') return 'number';
  if (only.type === 'string') return 'text';
  return only.type === 'array' && only.items?.type === 'string' ? 'lines' : 'json';
}

/** The value at a dotted key of a document. */
export function valueAt(document: Readonly<Record<string, unknown>>, key: string): unknown {
  return key.split('.').reduce<unknown>((at, part) => (at as Record<string, unknown> | null)?.[part], document);
}

/** A value as it stands in its field. */
export function textOf(setting: Setting, value: unknown): string {
  if (setting.kind === 'secret') return '';
  if (setting.kind === 'json') return value === null || value === undefined ? '' : JSON.stringify(value, null, 2);
  if (value === null || value === undefined) return '';
  return setting.kind === 'lines' ? (value as readonly string[]).join('\n') : String(value);
}

/** What was typed, as a value for the merge patch. Throws `SyntaxError` on broken JSON. Wrong values are the daemon's to refuse. */
export function parsed(setting: Setting, text: string): unknown {
  if (setting.kind === 'switch') return text === 'true';
  if (setting.kind === 'lines') return text.split('\n').map((line) => line.trim()).filter(Boolean);
  if (text.trim() === '') return null; // the default again
  if (setting.kind === 'number') return Number(text);
  return setting.kind === 'json' ? JSON.parse(text) : text;
}

/** Dotted keys and values as the nested document of a merge patch. */
export function patchOf(values: ReadonlyMap<string, unknown>): Record<string, unknown> {
  const patch: Record<string, unknown> = {};
  for (const [key, value] of values) {
    const parts = key.split('.');
    const last = parts.pop() as string;
    let at = patch;
    for (const part of parts) at = (at[part] ??= {}) as Record<string, unknown>;
    at[last] = value;
  }
  return patch;
}
