import { copyText } from './kit/clipboard.ts';
import type { MenuItem } from './kit/menu.ts';
import { toast } from './kit/toast.ts';

/** An action of the console as somebody would type it: every button has its command. */
export interface Spoken {
  /** `modelgrid container stop llama-3-1-8b` */
  readonly cli: string;
  readonly method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
  /** The path below `/v1/_ui/`. */
  readonly path: string;
  readonly body?: unknown;
}

/** Quote a word for a shell, where it needs it. */
export function quoted(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
}

/** The call as curl; the token comes from the environment, so that no secret is copied. */
export function curl(spoken: Spoken, origin: string = location.origin): string {
  const method = spoken.method === 'GET' ? '' : ` -X ${spoken.method}`;
  const body = spoken.body === undefined ? '' : ` -H 'Content-Type: application/json' -d ${quoted(JSON.stringify(spoken.body))}`;
  return `curl${method} ${quoted(`${origin}/v1/_ui/${spoken.path}`)} -H "Authorization: Bearer $MODELGRID_TOKEN"${body}`;
}

async function copy(text: string, what: string): Promise<void> {
  const copied = await copyText(text);
  toast(copied ? { text: `${what} copied: ${text}` } : { text: `The browser refused to copy. It is: ${text}`, kind: 'warning', seconds: 30 });
}

/** Two entries for the menu of an action: copy it as a command, copy it as a call. */
export function copyItems(spoken: Spoken): readonly MenuItem[] {
  return [
    { label: 'Copy as command', icon: 'terminal', run: () => void copy(spoken.cli, 'Command') },
    { label: 'Copy as curl', icon: 'copy', run: () => void copy(curl(spoken), 'Call') },
  ];
}
