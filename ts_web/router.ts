import { batch, computed, signal } from '@preact/signals-core';
import { resolve } from './views.ts';

/**
 * The URL is the state: path and query of the page are signals, and changing them is the only way to navigate.
 * Links are ordinary `<a href>`; the router takes clicks on those that stay in the console.
 */

export const path = signal(location.pathname);
export const query = signal<URLSearchParams>(new URLSearchParams(location.search));
export const hash = signal(location.hash);

/** The view that the path names; `null` where there is none. */
export const view = computed(() => resolve(path.value));

function read(): void {
  batch(() => {
    path.value = location.pathname;
    if (location.search !== `?${query.value}` && !(location.search === '' && query.value.size === 0)) {
      query.value = new URLSearchParams(location.search);
    }
    hash.value = location.hash;
  });
  const canonical = resolve(location.pathname)?.path;
  if (canonical && canonical !== location.pathname) {
    history.replaceState(null, '', canonical + location.search + location.hash);
    path.value = canonical;
  }
}

/** Go to a path of the console, with its query. */
export function navigate(href: string, options: { replace?: boolean } = {}): void {
  const url = new URL(href, location.href);
  const moved = url.pathname !== location.pathname;
  const where = url.pathname + url.search + url.hash;
  if (where !== location.pathname + location.search + location.hash) {
    if (options.replace) history.replaceState(null, '', where);
    else history.pushState(null, '', where);
  }
  read();
  if (moved) window.scrollTo(0, 0);
}

/** A value of the query; empty when it is not there. */
export function param(name: string): string {
  return query.value.get(name) ?? '';
}

/** The href of this view with some values of the query changed; `null` or `''` takes one out. */
export function hrefWith(changes: Record<string, string | number | null>): string {
  const params = new URLSearchParams(query.value);
  for (const [name, value] of Object.entries(changes)) {
    if (value === null || value === '') params.delete(name);
    else params.set(name, String(value));
  }
  return path.value + (params.size ? `?${params}` : '');
}

/** Change values of the query. Typing replaces the entry in the history; choosing adds one. */
export function setParams(changes: Record<string, string | number | null>, options: { replace?: boolean } = {}): void {
  navigate(hrefWith(changes), options);
}

function onClick(event: MouseEvent): void {
  if (event.defaultPrevented || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
  const link = event.composedPath().find((node): node is HTMLAnchorElement => node instanceof HTMLAnchorElement);
  if (!link?.href || (link.target && link.target !== '_self') || link.hasAttribute('download')) return;
  const url = new URL(link.href);
  if (url.origin !== location.origin || url.pathname.startsWith('/v1/')) return;
  event.preventDefault();
  navigate(link.href);
}

/** Start listening; returns what stops it. */
export function startRouter(): () => void {
  read();
  window.addEventListener('popstate', read);
  document.addEventListener('click', onClick);
  return () => {
    window.removeEventListener('popstate', read);
    document.removeEventListener('click', onClick);
  };
}
