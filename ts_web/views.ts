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
    name: 'gpus',
    title: 'GPUs',
    icon: 'gpus',
    key: 'g',
    views: [
      { path: '/gpus/devices', title: 'Devices', tag: 'mg-gpus-devices', load: () => import('./elements/gpus/mg-gpus-devices.ts') },
    ],
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
