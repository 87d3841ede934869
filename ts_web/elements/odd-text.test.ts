import { html, render } from 'lit';
import { unsafeStatic, html as staticHtml } from 'lit/static-html.js';
import { afterEach, beforeAll, expect, test, vi } from 'vitest';
import { page } from 'vitest/browser';
import type { Schemas } from '../data/client.ts';

/**
 * Whatever names, labels and reasons say, it is text and breaks no layout. The daemon refuses most of this where people
 * type it; drivers, engines, catalogs and other nodes are not asked.
 */
const ODD = {
  html: '<img src=x onerror="document.title=\'taken\'"><odd-tag>bold</odd-tag>',
  ansi: '\x1b[1;31mred\x1b[0m \x1b]0;taken\x07',
  rtl: '\u202egnp.exe\u202c مرحبا שלום',
  long: 'x'.repeat(10_000),
  words: 'word '.repeat(2_000),
  emoji: '😀👩‍👩‍👧‍👦🏳️‍🌈'.repeat(40),
};

const GIB = 2 ** 30;

function answers(odd: string): Record<string, unknown> {
  const now = Date.now() / 1000;
  const gpu: Partial<Schemas['Gpu']> = {
    id: odd, vendor: 'nvidia', index: 0, uuid: odd, name: odd, vram_total_bytes: 80 * GIB, vram_used_bytes: GIB, vram_free_bytes: 79 * GIB,
    driver_version: odd, compute_capability: odd, throttle_reasons: [odd], processes: [{ pid: 1, name: odd, used_bytes: GIB }],
  };
  const gpus: Partial<Schemas['GpuView']>[] = [
    { id: `n/${odd}`, node: odd, gpu: gpu as Schemas['Gpu'], stale: true, problem: odd, faults: [{ severity: 'critical', what: odd, impact: odd }], assigned_to: null, deployments: [odd] },
  ];
  const deployment: Partial<Schemas['DeploymentView']> = {
    id: odd, target: odd, model: odd, origin: 'api', state: 'failed', reason: odd, runtime: 'docker', simulated: false, node: odd, gpus: [odd], port: 1, engine_id: odd,
    intent: 'run', intent_reason: odd, phase: odd, trouble: odd, attempt: 1, created_at: now, ready_at: now, requests_per_second: 1, error_ratio: 0,
  };
  const node: Partial<Schemas['NodeView']> = {
    name: odd, role: 'worker', status: 'active', liveness: 'ready', advertise_url: odd, heartbeat_at: now, gpus: 1, gpu_models: [odd], vram_total_bytes: 1, vram_free_bytes: 1,
    runtimes: [odd], labels: { [odd]: odd }, version: odd, problem: odd, note: odd, connections: 1,
  };
  const target: Partial<Schemas['TargetView']> = {
    name: odd, model: odd, replicas: 2, running: 0, origin: 'api', pending: [odd], updated_at: now, updated_by: odd, deployments: [deployment as Schemas['DeploymentView']],
    constraints: { node: odd, labels: { [odd]: odd } } as Schemas['Constraints'],
  };
  const entry: Partial<Schemas['CatalogView']> = {
    id: odd, aliases: [odd], capabilities: ['chat'], parameters: 1e9, context: 1, vram_bytes: GIB, default_gpus: 1, licence: odd, source: odd, deployed: false,
  };
  const overview = {
    node: odd, role: 'control-plane', version: odd, verdict: 'degraded', sentence: odd, gateways: 1, api_url: 'http://127.0.0.1/v1', deployments: {}, nodes: 1, gpus: 1,
    reasons: [{ code: 'x', severity: 'critical', cause: `${odd}: ${odd}`, impact: odd, since: now, subject: odd, link: '/gpus/devices' }],
  };
  return {
    '/v1/_ui/overview': overview,
    '/v1/_ui/cluster': { role: 'control-plane', node: odd },
    '/v1/_ui/gpus': { items: gpus },
    '/v1/_ui/deployments': { items: [deployment] },
    '/v1/_ui/nodes': { items: [node] },
    '/v1/_ui/targets': { items: [target] },
    '/v1/_ui/placements': { items: [{ target: odd, model: odd, replicas: 2, cells: [{ deployment: odd, node: odd, state: 'running', gpus: [odd] }] }] },
    '/v1/_ui/apikeys': { items: [{ id: odd, label: odd, prefix: odd, status: 'active', scope: odd, created_at: now, last_used_at: null, expires_at: null }] },
    '/v1/_ui/catalog': { items: [entry], notes: [odd], drift: { added: [], changed: [], removed: [] } },
    '/v1/_ui/history': { items: [{ id: odd, target: odd, model: odd, origin: 'api', node: odd, ended_at: now, reason: odd, by: odd, state: 'failed' }] },
    '/v1/_ui/timeline': { items: [{ seq: 1, at: now, level: 'error', kind: odd, message: odd, subject_id: odd, by: odd, data: {} }] },
    '/v1/_ui/models': { items: [{ id: odd, aliases: [odd], replicas: 1, running: 1, state: 'running', nodes: [odd] }] },
    '/v1/_ui/metrics/series': { items: [] },
  };
}

const VIEWS = {
  'mg-overview-stats': () => import('./overview/mg-overview-stats.ts'),
  'mg-cluster-nodes': () => import('./cluster/mg-cluster-nodes.ts'),
  'mg-cluster-placements': () => import('./cluster/mg-cluster-placements.ts'),
  'mg-cluster-desired': () => import('./cluster/mg-cluster-desired.ts'),
  'mg-gpus-devices': () => import('./gpus/mg-gpus-devices.ts'),
  'mg-deployments-active': () => import('./deployments/mg-deployments-active.ts'),
  'mg-deployments-history': () => import('./deployments/mg-deployments-history.ts'),
  'mg-models-catalog': () => import('./models/mg-models-catalog.ts'),
  'mg-models-deployed': () => import('./models/mg-models-deployed.ts'),
  'mg-access-apikeys': () => import('./access/mg-access-apikeys.ts'),
};

let odd = '';
const asked = vi.fn(async (request: Request | URL | string) => {
  const { pathname } = new URL(request instanceof Request ? request.url : String(request), location.href);
  const body = answers(odd)[pathname];
  return body === undefined ? new Response('{}', { status: 404 }) : Response.json(body, { headers: { 'X-Event-Id': 'e-1' } });
});
vi.stubGlobal('fetch', asked);

const host = document.createElement('main');

beforeAll(async () => {
  await import('../kit/tokens.css');
  document.body.append(host);
});
afterEach(() => render(html``, host));

/** Every element of the page, through shadow roots. */
function inside(root: Element | ShadowRoot): Element[] {
  return [...root.querySelectorAll('*')].flatMap((element) => [element, ...(element.shadowRoot ? inside(element.shadowRoot) : [])]);
}

/** What sticks out of the page, for a failed test: elements beyond its edge that nothing around them cuts off. */
function beyond(): string {
  const edge = document.documentElement.clientWidth;
  const cut = (element: Element): boolean => {
    for (let at: Element | null = element; at; at = at.assignedSlot ?? at.parentElement ?? (at.getRootNode() as ShadowRoot).host ?? null) {
      if (at !== element && getComputedStyle(at).overflowX !== 'visible') return true;
    }
    return false;
  };
  const out = inside(host).filter((element) => element.getBoundingClientRect().right > edge + 1 && !cut(element));
  return out.slice(0, 8).map((element) => `${element.localName}.${element.className} in ${(element.getRootNode() as ShadowRoot).host?.localName}`).join('; ');
}

const TALLEST = 4_500;

for (const [name, text] of Object.entries(ODD)) {
  for (const [tag, load] of Object.entries(VIEWS)) {
    test(`${tag} takes ${name} for text`, async () => {
      odd = text;
      await load();
      for (const width of [1440, 390]) {
        await page.viewport(width, 900);
        render(staticHtml`<${unsafeStatic(tag)}></${unsafeStatic(tag)}>`, host);
        const shown = (): Element[] => inside(host);
        const start = text.trim().slice(0, 30);
        await expect.poll(() => shown().some((element) => !element.shadowRoot && (element.textContent ?? '').includes(start)), { timeout: 5_000 }).toBe(true);
        await new Promise((resolve) => setTimeout(resolve, 60)); // tables learn their width
        expect(shown().filter((element) => ['IMG', 'ODD-TAG', 'SCRIPT'].includes(element.tagName.toUpperCase()))).toEqual([]);
        expect(document.title).not.toBe('taken');
        expect(document.documentElement.scrollWidth, `${width} px: ${beyond()}`).toBeLessThanOrEqual(document.documentElement.clientWidth);
        expect(host.getBoundingClientRect().height, `${width} px`).toBeLessThanOrEqual(TALLEST);
        render(html``, host);
      }
    });
  }
}
