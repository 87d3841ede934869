import { state, type DeploymentView } from '../../appstate.ts';
import { copyItems, type Spoken } from '../../commands.ts';
import { api, body } from '../../data/client.ts';
import { asFailure } from '../../data/failure.ts';
import { confirm } from '../../kit/dialog.ts';
import type { MenuItem } from '../../kit/menu.ts';
import { toast } from '../../kit/toast.ts';

/** What can be done to a deployment: the verbs of `modelgrid container`, and what each would break. */

export type Verb = 'start' | 'stop' | 'restart';

const DONE: Record<Verb, string> = { start: 'starts', stop: 'stops', restart: 'restarts' };

/** Why `one` cannot be removed; empty when it can. */
function removalRefusal(one: DeploymentView): string {
  if (one.intent === 'remove') return 'It is being removed.';
  if (one.origin === 'config') return 'It comes from config.json: it can be started and stopped here.';
  return '';
}

/** Do `verb` to a deployment and say so; returns the daemon's reason when it refused. */
export async function act(one: DeploymentView, verb: Verb): Promise<string> {
  try {
    state.deployments.put(
      await body(api.POST('/v1/_ui/deployments/{deployment}/{action}', { params: { path: { deployment: one.id, action: verb } } })),
    );
  } catch (error) {
    return refused(error, `${one.id} was not changed`);
  }
  const undo = verb === 'stop' ? { undo: () => void act(one, 'start') } : {};
  toast({ text: `${one.id} ${DONE[verb]}.`, kind: 'busy', ...undo });
  return '';
}

/** Restart after asking, since a running engine ends its streams. */
export async function restart(one: DeploymentView): Promise<string> {
  const sure =
    one.state !== 'running' ||
    (await confirm({
      heading: 'Restart this deployment?',
      text: `${one.id} serves ${one.model}. Its requests finish first; until it is ready again it takes no new ones.`,
      verb: 'Restart',
      danger: false,
    }));
  return sure ? act(one, 'restart') : '';
}

/** Remove after the id was typed. */
export async function remove(one: DeploymentView): Promise<string> {
  const sure = await confirm({
    heading: 'Remove this deployment?',
    text: `${one.id} finishes its requests, stops and goes to the history. Its target wants one replica less.`,
    verb: 'Remove',
    name: one.id,
  });
  if (!sure) return '';
  try {
    state.deployments.put(await body(api.DELETE('/v1/_ui/deployments/{deployment}', { params: { path: { deployment: one.id } } })));
  } catch (error) {
    return refused(error, `${one.id} was not removed`);
  }
  toast({ text: `${one.id} is being removed.`, kind: 'maintenance' });
  return '';
}

function refused(error: unknown, what: string): string {
  const failure = asFailure(error);
  toast({ text: `${what}: ${failure.message} ${failure.fix}`, kind: 'critical' });
  return failure.message;
}

/** The verb that somebody on call would type for it. */
function spoken(one: DeploymentView, verb: Verb): Spoken {
  return { cli: `modelgrid container ${verb} ${one.id}`, method: 'POST', path: `deployments/${one.id}/${verb}` };
}

/** The actions of one row; `report` hears what the daemon refused, to show it there. */
export function actionsOf(one: DeploymentView, report: (problem: string) => void): readonly MenuItem[] {
  const stopped = one.intent === 'stop' || one.state === 'stopped' || one.state === 'failed';
  const leaving = one.intent === 'remove' ? 'It is being removed.' : '';
  const tell = (work: Promise<string>): void => void work.then(report);
  return [
    { label: 'Logs', icon: 'logs', href: `/deployments/active?open=${encodeURIComponent(one.id)}&tab=logs` },
    stopped
      ? { label: 'Start', icon: 'play', refusal: leaving, run: () => tell(act(one, 'start')) }
      : { label: 'Stop', icon: 'pause', refusal: leaving, run: () => tell(act(one, 'stop')) },
    { label: 'Restart…', icon: 'refresh', refusal: leaving, run: () => tell(restart(one)) },
    { label: 'Remove…', icon: 'close', danger: true, refusal: removalRefusal(one), run: () => tell(remove(one)) },
    ...copyItems(spoken(one, stopped ? 'start' : 'restart')),
  ];
}
