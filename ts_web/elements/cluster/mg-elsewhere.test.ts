import { html, render } from 'lit';
import { afterEach, expect, test, vi } from 'vitest';
import { page } from 'vitest/browser';
import { state } from '../../appstate.ts';
import './mg-elsewhere.ts';

/** How a worker leads to its control plane, by what that one says of its console. */
const host = document.createElement('main');
document.body.append(host);
vi.stubGlobal('fetch', vi.fn(async () => new Response('{}', { status: 404 })));
afterEach(() => render(html``, host));

async function shown(url: string | null, isPrivate: boolean): Promise<void> {
  state.cluster.set({
    role: 'worker', node: 'worker-a', nodes: 1, control_plane: 'control-a', control_plane_url: 'https://10.1.2.3:8082', joined: true, answered_at: null,
    problem: '', control_plane_console_url: url, control_plane_console_private: isPrivate,
  });
  render(html`<mg-elsewhere what="All"></mg-elsewhere>`, host);
  await expect.element(page.getByRole('heading', { name: 'Decided by control-a' })).toBeVisible();
}

test('a console that others reach is a link', async () => {
  await shown('https://grid.example:9443', false);
  await expect.element(page.getByRole('link', { name: 'Open control-a’s console' })).toHaveAttribute('href', 'https://grid.example:9443');
});

test('one for another machine alone is a tunnel with its port, and no link', async () => {
  await shown('https://127.0.0.1:9443', true);
  await expect.element(page.getByText('ssh -L 9081:127.0.0.1:9443 10.1.2.3')).toBeVisible();
  await expect.element(page.getByText('https://127.0.0.1:9081')).toBeVisible();
  expect(page.getByRole('link', { name: /console/ }).elements()).toEqual([]);
});

test('one that was not told yet is neither', async () => {
  await shown(null, false);
  await expect.element(page.getByText('control-a has not said yet where its console is.')).toBeVisible();
  expect(page.getByRole('link', { name: /console/ }).elements()).toEqual([]);
});
