import type { Schemas } from './data/client.ts';
import { copyText } from './kit/clipboard.ts';
import type { MenuCopy, MenuItem } from './kit/menu.ts';
import { toast } from './kit/toast.ts';

/** An action of the console as somebody would type it: every button has its command. */
export interface Spoken {
  /** `modelgrid container stop llama-3-1-8b` */
  readonly cli: string;
  readonly method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
  /** The path below `/v1/_ui/`. */
  readonly path: string;
  /** JSON; a `Variable` where a secret belongs. */
  readonly body?: unknown;
}

/** Quote a word for a shell, where it needs it. */
export function quoted(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
}

/** A value that is not copied: who runs what is copied has it in an environment variable of this name. */
export class Variable {
  readonly name: string;

  constructor(name: string) {
    this.name = name.replaceAll(/\W/g, '_').replace(/^(?=\d)/, '_');
  }

  /** As it is called in a shell: within `"…"`, whatever its value. */
  toString(): string {
    return `"$${this.name}"`;
  }
}

/** A document as one word of a shell; `used` gets the variables whose values the shell puts in. */
function jsonWord(value: unknown, used: Set<string>): string {
  if (value instanceof Variable) {
    used.add(value.name);
    // The value is text within JSON: its quotes and backslashes are written as JSON writes them.
    return `"'"$(printf %s ${value} | sed 's/[\\\\"]/\\\\&/g')"'"`;
  }
  if (Array.isArray(value)) return `[${value.map((item: unknown) => jsonWord(item, used)).join(',')}]`;
  if (typeof value !== 'object' || value === null) return JSON.stringify(value).replaceAll("'", `'\\''`);
  const pairs = Object.entries(value).filter(([, item]) => item !== undefined);
  return `{${pairs.map(([name, item]) => `${jsonWord(name, used)}:${jsonWord(item, used)}`).join(',')}}`;
}

/** The call as curl; tokens come from the environment, so that no secret is copied. Without one of them nothing is called. */
export function curl(spoken: Spoken, origin: string = location.origin): string {
  const method = spoken.method === 'GET' ? '' : ` -X ${spoken.method}`;
  const used = new Set<string>();
  const body = spoken.body === undefined ? '' : ` -H 'Content-Type: application/json' -d '${jsonWord(spoken.body, used)}'`;
  const there = [...used].map((name) => `: "\${${name}:?}" && `).join('');
  return `${there}curl${method} ${quoted(`${origin}/v1/_ui/${spoken.path}`)} -H "Authorization: Bearer $MODELGRID_TOKEN"${body}`;
}

/** Whether `config set` would read a text as another value. */
function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

/** `config set` of one key of this daemon's file, which is named where a command would not look for it. */
export function configSet(file: Pick<Schemas['ConfigView'], 'path' | 'usual_path'> | undefined, key: string, value: unknown): string {
  const plain = typeof value === 'string' && !isJson(value) ? value : JSON.stringify(value ?? null);
  const word = value instanceof Variable ? `"\${${value.name}:?}"` : quoted(plain);
  return `modelgrid config set ${key} ${word}${file && !file.usual_path ? ` --config ${quoted(file.path)}` : ''}`;
}

async function copy(text: string, what: string): Promise<void> {
  const copied = await copyText(text);
  toast(copied ? { text: `${what} copied: ${text}` } : { text: `The browser refused to copy. It is: ${text}`, kind: 'warning', seconds: 30 });
}

/** What stands beside an action in a menu: copy it as a command, copy it as a call. `what` names the action: `Stop`. */
export function copiesOf(what: string, spoken: Spoken): readonly MenuCopy[] {
  return [
    { label: `Copy as command: ${what}`, text: '>_', run: () => void copy(spoken.cli, 'Command') },
    { label: `Copy as curl: ${what}`, text: 'curl', run: () => void copy(curl(spoken), 'Call') },
  ];
}

/** An action with its command; `…` at the end of its label, which says that something is asked first, is left out there. */
export function spokenItem(item: MenuItem, spoken: Spoken): MenuItem {
  return { ...item, copies: copiesOf(item.label.replace('…', ''), spoken) };
}

/** A small menu of its own beside a button: its command and its call. */
export function copiedAs(what: string, spoken: Spoken): readonly MenuItem[] {
  return copiesOf(what, spoken).map(({ label, run }) => ({ label, run }));
}

/** An entry of its own, for what is not done from a menu. */
export function copyItem(label: string, text: string): MenuItem {
  return { label, icon: 'terminal', run: () => void copy(text, 'Command') };
}
