import { state, type DeploymentView } from '../../appstate.ts';
import { copyItems, type Spoken } from '../../commands.ts';
import { api, body } from '../../data/client.ts';
import { asFailure, type Failure } from '../../data/failure.ts';
import { confirm } from '../../kit/dialog.ts';
import { plural } from '../../kit/format.ts';
import type { MenuItem } from '../../kit/menu.ts';
import { decidedElsewhere } from '../cluster/control-plane.ts';
import { toast } from '../../kit/toast.ts';

/** What can be done to a deployment: the verbs of `modelgrid container`, and what each would break. */

export type Verb = 'start' | 'stop' | 'restart';

const DONE: Record<Verb, string> = { start: 'starts', stop: 'stops', restart: 'restarts' };

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

/** Do `verb` to a deployment and say so; returns the daemon's reason when it refused. */
export async function act(one: DeploymentView, verb: Verb): Promise<string> {
  const failure = await ask(one, verb);
  if (failure) return refused(failure, `${one.id} was not changed`);
  const undo = verb === 'stop' ? { undo: () => void act(one, 'start') } : {};
  toast({ text: `${one.id} ${DONE[verb]}.`, kind: 'busy', ...undo });
  return '';
}

/** Do the same to many, after asking where it breaks something; returns what was refused, by deployment. */
export async function actOnAll(many: readonly DeploymentView[], verb: Verb | 'remove'): Promise<ReadonlyMap<string, string> | null> {
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
  const answers = await Promise.all(many.map(async (one) => [one.id, (await ask(one, verb))?.message ?? ''] as const));
  const problems = new Map(answers.filter(([, problem]) => problem));
  const done = many.length - problems.size;
  const text = `${plural(done, `deployment ${DONE_ALL[verb][0]}`, `deployments ${DONE_ALL[verb][1]}`)}${problems.size ? `; ${plural(problems.size, 'was', 'were')} refused, and their rows say why` : ''}.`;
  toast({ text, kind: problems.size ? 'warning' : 'busy' });
  return problems;
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
  const failure = await ask(one, 'remove');
  if (failure) return refused(failure, `${one.id} was not removed`);
  toast({ text: `${one.id} is being removed.`, kind: 'maintenance' });
  return '';
}

function refused(failure: Failure, what: string): string {
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
  const leaving = decidedElsewhere.value || (one.intent === 'remove' ? 'It is being removed.' : '');
  const tell = (work: Promise<string>): void => void work.then(report);
  return [
    { label: 'Logs', icon: 'logs', href: `/deployments/active?open=${encodeURIComponent(one.id)}&tab=logs` },
    stopped
      ? { label: 'Start', icon: 'play', refusal: leaving, run: () => tell(act(one, 'start')) }
      : { label: 'Stop', icon: 'pause', refusal: leaving, run: () => tell(act(one, 'stop')) },
    { label: 'Restart…', icon: 'refresh', refusal: leaving, run: () => tell(restart(one)) },
    { label: 'Remove…', icon: 'close', danger: true, refusal: decidedElsewhere.value || removalRefusal(one), run: () => tell(remove(one)) },
    ...copyItems(spoken(one, stopped ? 'start' : 'restart')),
  ];
}
