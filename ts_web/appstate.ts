import { computed, effect, signal } from '@preact/signals-core';
import { api, call, type Schemas } from './data/client.ts';
import { LiveCollection, LiveDocument } from './data/live.ts';
import { lost } from './data/stream.ts';
import { remember, remembered } from './kit/remember.ts';

/**
 * The one store. Everything the daemon tells is here once, whoever shows it; a view holds what it shows
 * (`this.whileConnected(() => state.nodes.hold())`) and reads signals while it renders.
 */

export type Overview = Schemas['Overview'];
export type ClusterView = Schemas['ClusterView'];
export type NodeView = Schemas['NodeView'];
export type GpuView = Schemas['GpuView'];
export type DeploymentView = Schemas['DeploymentView'];
export type TargetView = Schemas['TargetView'];
export type PlacementRow = Schemas['PlacementRow'];
export type CatalogList = Schemas['CatalogList'];
export type ApiKeyView = Schemas['ApiKeyView'];
export type { Schemas };

export const gpuKey = (gpu: GpuView): string => `${gpu.node}/${gpu.gpu.id}`;

export const state = {
  overview: new LiveDocument<Overview>('overview', () => call(api.GET('/v1/_ui/overview'))),
  cluster: new LiveDocument<ClusterView>('overview', () => call(api.GET('/v1/_ui/cluster')), 'cluster'),
  config: new LiveDocument<Record<string, unknown>>('config', () => call(api.GET('/v1/_ui/config'))),
  catalog: new LiveDocument<CatalogList>('catalog', () => call(api.GET('/v1/_ui/catalog'))),
  nodes: new LiveCollection<NodeView>('nodes', (node) => node.name, () => call(api.GET('/v1/_ui/nodes'))),
  gpus: new LiveCollection<GpuView>('gpus', gpuKey, () => call(api.GET('/v1/_ui/gpus'))),
  deployments: new LiveCollection<DeploymentView>('deployments', (item) => item.id, () => call(api.GET('/v1/_ui/deployments'))),
  targets: new LiveCollection<TargetView>('targets', (target) => target.name, () => call(api.GET('/v1/_ui/targets'))),
  placements: new LiveCollection<PlacementRow>('placements', (row) => row.target, () => call(api.GET('/v1/_ui/placements'))),
  apikeys: new LiveCollection<ApiKeyView>('apikeys', (key) => key.id, () => call(api.GET('/v1/_ui/apikeys'))),
};

export type Theme = 'dark' | 'light';

const preferred = matchMedia('(prefers-color-scheme: light)');
const chosenTheme = signal<Theme | null>(remembered<Theme>('theme'));
const systemTheme = signal<Theme>(preferred.matches ? 'light' : 'dark');
preferred.addEventListener('change', () => (systemTheme.value = preferred.matches ? 'light' : 'dark'));

// Paper is light, whatever the screen is.
const printing = matchMedia('print');
const onPaper = signal(printing.matches);
printing.addEventListener('change', () => (onPaper.value = printing.matches));

export const theme = computed<Theme>(() => (onPaper.value ? 'light' : (chosenTheme.value ?? systemTheme.value)));
effect(() => {
  document.documentElement.dataset['theme'] = theme.value;
});

/** Choose a theme; `null` follows the system again. */
export function chooseTheme(choice: Theme | null): void {
  chosenTheme.value = choice;
  remember('theme', choice);
}

/** Whether this node sees only itself and its cluster's views are elsewhere. */
export const isWorker = computed(() => state.overview.value?.role === 'worker');

export { lost };
