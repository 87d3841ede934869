import { state, type DeploymentView } from '../../appstate.ts';
import { spokenItem, type Spoken } from '../../commands.ts';
import { api, body } from '../../data/client.ts';
import { asFailure, type Failure } from '../../data/failure.ts';
import { confirm } from '../../kit/dialog.ts';
import { plural } from '../../kit/format.ts';
import type { MenuItem } from '../../kit/menu.ts';
import { RowNotes } from '../../kit/row-notes.ts';
import { toast } from '../../kit/toast.ts';
import { decidedElsewhere } from '../cluster/control-plane.ts';

/** What can be done to a deployment: the verbs of `modelgrid container`, and what each would break. */

export type Verb = 'start' | 'stop' | 'restart';

const DONE: Record<Verb, string> = { start: 'It starts.', stop: 'It stops.', restart: 'It restarts.' };

/** What became of the last action on each deployment: its row and its drawer show it. */
export const notes = new RowNotes();

const VERBS = { start: 'Start', stop: 'Stop', restart: 'Restart', remove: 'Remove' } as const;
const DONE_ALL = { start: ['starts', 'start'], stop: ['stops', 'stop'], restart: ['restarts', 'restart'], remove: ['is being removed', 'are being removed'] } as const;

/** Why `one` cannot be removed; empty when it can. */
function removalRefusal(one: DeploymentView): string {
  if (one.intent === 'remove') return 'It is being removed.';
  if (one.origin === 'config') return 'It comes from config.json: it can be started and stopped here.';
  return '';
}

/** Ask the daemon, and take over its answer; returns what it refused. */
async function ask(one: DeploymentView, verb: Verb | 'remove'): Promise<Failure | null> {
  const path = { deployment: one.id };
  try {
    state.deployments.put(
      verb === 'remove'
        ? await body(api.DELETE('/v1/_ui/deployments/{deployment}', { params: { path } }))
        : await body(api.POST('/v1/_ui/deployments/{deployment}/{action}', { params: { path: { ...path, action: verb } } })),
    );
    return null;
  } catch (error) {
    return asFailure(error);
  }
}

/** Do `verb` to a deployment; its row says what became of it. */
export async function act(one: DeploymentView, verb: Verb): Promise<void> {
  const failure = await ask(one, verb);
  if (failure) notes.refuse(one.id, said(failure));
  else notes.done(one.id, DONE[verb], verb === 'stop' ? () => void act(one, 'start') : undefined);
}

/** Do the same to many, after asking where it breaks something; returns those that were refused, `null`: nothing was done. */
export async function actOnAll(many: readonly DeploymentView[], verb: Verb | 'remove'): Promise<ReadonlySet<string> | null> {
  const running = many.filter((one) => one.state === 'running').length;
  if (verb === 'remove' || (verb !== 'start' && running)) {
    const sure = await confirm({
      heading: `${VERBS[verb]} ${plural(many.length, 'deployment')}?`,
      text: `${running ? `${plural(running, 'of them serves', 'of them serve')} requests, which finish first. ` : ''}${many.map((one) => one.id).join(', ')}`,
      verb: VERBS[verb],
      danger: verb === 'remove',
      ...(verb === 'remove' ? { name: plural(many.length, 'deployment') } : {}),
    });
    if (!sure) return null;
  }
  const problems = new Set<string>();
  await Promise.all(
    many.map(async (one) => {
      const failure = await ask(one, verb);
      if (!failure) return notes.clear(one.id);
      problems.add(one.id);
      notes.refuse(one.id, said(failure));
    }),
  );
  const done = many.length - problems.size;
  const text = `${plural(done, `deployment ${DONE_ALL[verb][0]}`, `deployments ${DONE_ALL[verb][1]}`)}${problems.size ? `; ${plural(problems.size, 'was', 'were')} refused, and their rows say why` : ''}.`;
  toast({ text, kind: problems.size ? 'warning' : 'busy' });
  return problems;
}

/** Restart after asking, since a running engine ends its streams. */
export async function restart(one: DeploymentView): Promise<void> {
  const sure =
    one.state !== 'running' ||
    (await confirm({
      heading: 'Restart this deployment?',
      text: `${one.id} serves ${one.model}. Its requests finish first; until it is ready again it takes no new ones.`,
      verb: 'Restart',
      danger: false,
    }));
  if (sure) await act(one, 'restart');
}

/** Remove after the id was typed. */
export async function remove(one: DeploymentView): Promise<void> {
  const sure = await confirm({
    heading: 'Remove this deployment?',
    text: `${one.id} finishes its requests, stops and goes to the history. Its target wants one replica less.`,
    verb: 'Remove',
    name: one.id,
  });
  if (!sure) return;
  const failure = await ask(one, 'remove');
  if (failure) notes.refuse(one.id, said(failure));
  // Its row is about to go: this stays.
  else toast({ text: `${one.id} is being removed.`, kind: 'maintenance' });
}

const said = (failure: Failure): string => `${failure.message} ${failure.fix}`.trim();

/** The verb that somebody on call would type for it. */
function spoken(one: DeploymentView, verb: Verb | 'remove' | 'logs'): Spoken {
  const cli = `modelgrid container ${verb} ${one.id}`;
  if (verb === 'logs') return { cli: `${cli} --follow`, method: 'GET', path: `deployments/${one.id}/logs` };
  return verb === 'remove' ? { cli, method: 'DELETE', path: `deployments/${one.id}` } : { cli, method: 'POST', path: `deployments/${one.id}/${verb}` };
}

/** The same for many at once, as commands. */
export function spokenForAll(ids: Iterable<string>, verb: Verb | 'remove'): string {
  return `modelgrid container ${verb} ${[...ids].join(' ')}`;
}

/** The actions of one row. */
export function actionsOf(one: DeploymentView): readonly MenuItem[] {
  const stopped = one.intent === 'stop' || one.state === 'stopped' || one.state === 'failed';
  const leaving = decidedElsewhere.value || (one.intent === 'remove' ? 'It is being removed.' : '');
  const go: MenuItem = stopped
    ? { label: 'Start', icon: 'play', refusal: leaving, run: () => void act(one, 'start') }
    : { label: 'Stop', icon: 'pause', refusal: leaving, run: () => void act(one, 'stop') };
  return [
    spokenItem({ label: 'Logs', icon: 'logs', href: `/deployments/active?open=${encodeURIComponent(one.id)}&tab=logs` }, spoken(one, 'logs')),
    spokenItem(go, spoken(one, stopped ? 'start' : 'stop')),
    spokenItem({ label: 'Restart…', icon: 'refresh', refusal: leaving, run: () => void restart(one) }, spoken(one, 'restart')),
    spokenItem({ label: 'Remove…', icon: 'close', danger: true, refusal: decidedElsewhere.value || removalRefusal(one), run: () => void remove(one) }, spoken(one, 'remove')),
  ];
}
