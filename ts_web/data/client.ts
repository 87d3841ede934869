import createClient from 'openapi-fetch';
import type { components, paths } from './api.gen.ts';
import { CallFailed, failureOf, UNREACHABLE } from './failure.ts';
import { atOrBefore } from './stream/protocol.ts';

export type Schemas = components['schemas'];

let onUnauthenticated: (status: 'unauthenticated' | 'password_change_required') => void = () => undefined;

/** Name what is to happen when the session is over: the login opens above what is on the screen. */
export function whenUnauthenticated(handler: typeof onUnauthenticated): void {
  onUnauthenticated = handler;
}

/** The daemon's API, typed from its OpenAPI document. */
export const api = createClient<paths>({ baseUrl: location.origin, credentials: 'same-origin' });

export interface Answer<T> {
  readonly data: T;
  /** `X-Event-Id`: the position in the stream that the answer is current to. */
  readonly position: string;
  readonly etag: string;
  /** `X-ModelGrid-Node`: the other node that answered; empty: the daemon itself did. */
  readonly node: string;
}

let oldestPosition = '';

/** The position of the oldest answer of this page; empty before the first. */
export function oldest(): string {
  return oldestPosition;
}

interface Raw<T> {
  data?: T;
  error?: unknown;
  response: Response;
}

/** Wait for a call of `api`. Throws `CallFailed` with the daemon's reason, or that it does not answer. */
export async function call<T>(request: Promise<Raw<T>>): Promise<Answer<T>> {
  let raw: Raw<T>;
  try {
    raw = await request;
  } catch (error) {
    if (error instanceof DOMException && error.name === 'AbortError') throw error;
    throw new CallFailed(UNREACHABLE);
  }
  const { response } = raw;
  if (!response.ok) {
    const failure = failureOf(response.status, raw.error);
    if (failure.status === 401) onUnauthenticated('unauthenticated');
    if (failure.code === 'password_change_required') onUnauthenticated('password_change_required');
    throw new CallFailed(failure);
  }
  const position = response.headers.get('x-event-id') ?? '';
  if (!oldestPosition || atOrBefore(position, oldestPosition)) oldestPosition = position;
  return {
    data: raw.data as T,
    position,
    etag: response.headers.get('etag') ?? '',
    node: response.headers.get('x-modelgrid-node') ?? '',
  };
}

/** The same, for the body alone. */
export async function body<T>(request: Promise<Raw<T>>): Promise<T> {
  return (await call(request)).data;
}
