import { state, type NodeView } from '../../appstate.ts';
import { api, body } from '../../data/client.ts';
import { asFailure } from '../../data/failure.ts';
import { confirm } from '../../kit/dialog.ts';
import { plural } from '../../kit/format.ts';
import { toast } from '../../kit/toast.ts';

/**
 * Take a node out of the cluster after its name was typed; by force only after the daemon has said why it is needed and
 * that was read. Returns the daemon's reason where it refused and nobody insisted.
 */
export async function removeNode(node: NodeView, placed: number): Promise<string> {
  const runs = placed ? ` ${plural(placed, 'deployment')} of it will be served elsewhere, where there is room.` : '';
  const sure = await confirm({
    heading: 'Remove this node?',
    text: `${node.name} leaves the cluster, and what it is known by is worth nothing from then on.${runs} To come back it needs a new invitation.`,
    verb: 'Remove',
    name: node.name,
  });
  return sure ? remove(node, false) : '';
}

async function remove(node: NodeView, force: boolean): Promise<string> {
  try {
    await body(api.DELETE('/v1/_ui/nodes/{name}', { params: { path: { name: node.name }, query: { force } } }));
  } catch (error) {
    const failure = asFailure(error);
    if (force || failure.details['deployments'] === undefined) return failure.message;
    const insists = await confirm({
      heading: 'Remove it all the same?',
      text: `${failure.message} Drained first, it loses no request. By force it goes at once, with what it has.`,
      verb: 'Remove by force',
      name: node.name,
    });
    return insists ? remove(node, true) : failure.message;
  }
  state.nodes.reload();
  toast({ text: `${node.name} has left the cluster.`, kind: 'maintenance' });
  return '';
}
