import { html, render } from 'lit';
import { afterEach, expect, test, vi } from 'vitest';
import { page, userEvent } from 'vitest/browser';
import './field.ts';
import './menu.ts';
import './states.ts';
import { confirm } from './dialog.ts';
import { now } from './clock.ts';
import { toast } from './toast.ts';

const host = document.createElement('div');
document.body.append(host);
afterEach(() => render(html``, host));

test('a dangerous question waits for the name to be typed', async () => {
  const answer = confirm({ heading: 'Remove it', text: 'It ends.', verb: 'Remove', name: 'llama-1' });
  const go = page.getByRole('button', { name: 'Remove' });
  await expect.element(go).toBeDisabled();
  await page.getByLabelText('Type llama-1 to go on').fill('llama-1');
  await go.click();
  expect(await answer).toBe(true);
  expect(document.querySelector('mg-confirm')).toBeNull();
});

test('Esc says no', async () => {
  const answer = confirm({ heading: 'Remove it', text: 'It ends.', verb: 'Remove' });
  await expect.element(page.getByRole('dialog')).toBeVisible();
  await userEvent.keyboard('{Escape}');
  expect(await answer).toBe(false);
});

test('a menu opens, moves by arrows, runs, and says why something cannot be chosen', async () => {
  const stop = vi.fn();
  const items = [
    { label: 'Restart', refusal: 'It is not running.' },
    { label: 'Stop', run: stop },
  ];
  render(html`<mg-menu label="Actions" .items=${items}></mg-menu>`, host);
  await page.getByRole('button', { name: 'Actions' }).click();
  await expect.element(page.getByText('It is not running.')).toBeVisible();
  await userEvent.keyboard('{Enter}');
  expect(stop).toHaveBeenCalledOnce();
  await expect.element(page.getByText('Stop')).not.toBeInTheDocument();
});

test('Enter in a field sends its form, and the objection is tied to the input', async () => {
  const sent = vi.fn((event: Event) => event.preventDefault());
  render(html`<form @submit=${sent}><mg-field label="Port" error="Must be below 65536."></mg-field></form>`, host);
  const input = page.getByLabelText('Port');
  await input.fill('99999');
  await userEvent.keyboard('{Enter}');
  expect(sent).toHaveBeenCalledOnce();
  await expect.element(input).toHaveAccessibleDescription('Must be below 65536.');
  await expect.element(input).toBeInvalid();
});

test('a state shows a skeleton only after a while, then the error, then the content with its age', async () => {
  const source = { loaded: false, problem: '', fix: '', stale: false, confirmedAt: 0, reload: vi.fn() };
  const show = (change: Partial<typeof source>): void => {
    render(html`<mg-state .source=${{ ...source, ...change }}><p>content</p></mg-state>`, host);
  };
  show({});
  await expect.element(page.getByRole('status', { name: 'Loading' })).toBeVisible();
  show({ problem: 'The daemon does not answer.' });
  await page.getByRole('button', { name: 'Try again' }).click();
  expect(source.reload).toHaveBeenCalledOnce();
  show({ loaded: true, stale: true, confirmedAt: now.value - 42 });
  await expect.element(page.getByText('Not live: last known 42 s ago.')).toBeVisible();
  await expect.element(page.getByText('content')).toBeVisible();
});

test('a toast offers to take it back', async () => {
  const undo = vi.fn();
  render(html`<mg-toasts></mg-toasts>`, host);
  toast({ text: 'Stopped.', undo });
  await page.getByRole('button', { name: 'Undo' }).click();
  expect(undo).toHaveBeenCalledOnce();
  await expect.element(page.getByText('Stopped.')).not.toBeInTheDocument();
});
