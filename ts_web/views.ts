import type { IconName } from './kit/icons.ts';

/**
 * Every view of the console: its path, its name, the element that shows it and how that is loaded. The router, the
 * rail, the tabs, the palette and the tests read this table; a view is added by one line here.
 */
export interface View {
  readonly path: string;
  readonly title: string;
  readonly tag: string;
  readonly load: () => Promise<unknown>;
}

export interface Area {
  readonly name: string;
  readonly title: string;
  readonly icon: IconName;
  /** The letter after `g` that goes there. */
  readonly key: string;
  readonly views: readonly View[];
}

export const AREAS: readonly Area[] = [
  {
    name: 'overview',
    title: 'Overview',
    icon: 'overview',
    key: 'o',
    views: [
      { path: '/overview/stats', title: 'Stats', tag: 'mg-overview-stats', load: () => import('./elements/overview/mg-overview-stats.ts') },
      { path: '/overview/configuration', title: 'Configuration', tag: 'mg-overview-configuration', load: () => import('./elements/overview/mg-overview-configuration.ts') },
    ],
  },
  {
    name: 'cluster',
    title: 'Cluster',
    icon: 'cluster',
    key: 'c',
    views: [
      { path: '/cluster/nodes', title: 'Nodes', tag: 'mg-cluster-nodes', load: () => import('./elements/cluster/mg-cluster-nodes.ts') },
      { path: '/cluster/placements', title: 'Placements', tag: 'mg-cluster-placements', load: () => import('./elements/cluster/mg-cluster-placements.ts') },
      { path: '/cluster/desired', title: 'Desired', tag: 'mg-cluster-desired', load: () => import('./elements/cluster/mg-cluster-desired.ts') },
    ],
  },
  {
    name: 'gpus',
    title: 'GPUs',
    icon: 'gpus',
    key: 'g',
    views: [
      { path: '/gpus/devices', title: 'Devices', tag: 'mg-gpus-devices', load: () => import('./elements/gpus/mg-gpus-devices.ts') },
      { path: '/gpus/drivers', title: 'Drivers', tag: 'mg-gpus-drivers', load: () => import('./elements/gpus/mg-gpus-drivers.ts') },
    ],
  },
  {
    name: 'deployments',
    title: 'Deployments',
    icon: 'deployments',
    key: 'd',
    views: [
      { path: '/deployments/active', title: 'Active', tag: 'mg-deployments-active', load: () => import('./elements/deployments/mg-deployments-active.ts') },
      { path: '/deployments/history', title: 'History', tag: 'mg-deployments-history', load: () => import('./elements/deployments/mg-deployments-history.ts') },
    ],
  },
  {
    name: 'models',
    title: 'Models',
    icon: 'models',
    key: 'm',
    views: [
      { path: '/models/catalog', title: 'Catalog', tag: 'mg-models-catalog', load: () => import('./elements/models/mg-models-catalog.ts') },
      { path: '/models/deployed', title: 'Deployed', tag: 'mg-models-deployed', load: () => import('./elements/models/mg-models-deployed.ts') },
    ],
  },
  {
    name: 'access',
    title: 'Access',
    icon: 'access',
    key: 'a',
    views: [
      { path: '/access/apikeys', title: 'API Keys', tag: 'mg-access-apikeys', load: () => import('./elements/access/mg-access-apikeys.ts') },
      { path: '/access/clients', title: 'Clients', tag: 'mg-access-clients', load: () => import('./elements/access/mg-access-clients.ts') },
    ],
  },
  {
    name: 'logs',
    title: 'Logs',
    icon: 'logs',
    key: 'l',
    views: [{ path: '/logs', title: 'Logs', tag: 'mg-logs', load: () => import('./elements/logs/mg-logs.ts') }],
  },
  {
    name: 'metrics',
    title: 'Metrics',
    icon: 'metrics',
    key: 'x',
    views: [{ path: '/metrics', title: 'Metrics', tag: 'mg-metrics', load: () => import('./elements/metrics/mg-metrics.ts') }],
  },
  {
    name: 'settings',
    title: 'Settings',
    icon: 'settings',
    key: 's',
    views: [{ path: '/settings', title: 'Settings', tag: 'mg-settings', load: () => import('./elements/settings/mg-settings.ts') }],
  },
];

export const VIEWS: readonly View[] = AREAS.flatMap((area) => area.views);

/** Return the view of a path, aliases followed: `/overview` is `/overview/stats`, `/` the landing page. */
export function resolve(path: string): View | null {
  const clean = path.length > 1 ? path.replace(/\/+$/, '') : path;
  if (clean === '/') return VIEWS[0] ?? null;
  return VIEWS.find((view) => view.path === clean) ?? AREAS.find((area) => clean === `/${area.name}`)?.views[0] ?? null;
}

/** The area that a path lies in. */
export function areaOf(path: string): Area | undefined {
  return AREAS.find((area) => area.name === path.split('/')[1]);
}
