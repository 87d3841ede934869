import { signal } from '@preact/signals-core';
import { api, body, whenUnauthenticated, type Schemas } from './client.ts';
import { CallFailed, type Failure } from './failure.ts';
import { closeStream, openStream } from './stream.ts';

export type Session = Schemas['SessionView'];

/**
 * `checking`: not asked yet. `closed`: nobody is logged in. `expired`: somebody was; what is on the screen stays below
 * the login. `must-change`: logged in with a one-time password. `open`. `offline`: the daemon does not answer at all.
 */
export type SessionState = 'checking' | 'closed' | 'expired' | 'must-change' | 'open' | 'offline';

export const sessionState = signal<SessionState>('checking');
export const session = signal<Session | null>(null);

function take(found: Session): void {
  session.value = found;
  sessionState.value = found.must_change_password ? 'must-change' : 'open';
  if (!found.must_change_password) openStream();
}

/** Ask the daemon who we are. */
export async function checkSession(): Promise<void> {
  try {
    take(await body(api.GET('/v1/_ui/session')));
  } catch (error) {
    if (!(error instanceof CallFailed)) throw error;
    const { status } = error.failure;
    sessionState.value = status === 0 || status >= 500 ? 'offline' : 'closed';
  }
}

/** Log in. Returns why not; `null` when it worked. */
export async function login(user: string, password: string): Promise<Failure | null> {
  try {
    take(await body(api.POST('/v1/_ui/login', { body: { user, password } })));
    return null;
  } catch (error) {
    if (error instanceof CallFailed) return error.failure;
    throw error;
  }
}

/** Change the own password. Returns why not; `null` when it worked. */
export async function changePassword(current: string, fresh: string): Promise<Failure | null> {
  try {
    take(await body(api.POST('/v1/_ui/password', { body: { current, new: fresh } })));
    return null;
  } catch (error) {
    if (error instanceof CallFailed) return error.failure;
    throw error;
  }
}

export async function logout(): Promise<void> {
  closeStream();
  try {
    await body(api.POST('/v1/_ui/logout'));
  } catch (error) {
    if (!(error instanceof CallFailed)) throw error;
    // The daemon does not answer, or ended the session already: the console forgets it all the same.
  }
  // Nothing of the last user may stay in memory.
  location.reload();
}

whenUnauthenticated((what) => {
  if (sessionState.value !== 'open') return;
  closeStream();
  sessionState.value = what === 'password_change_required' ? 'must-change' : 'expired';
});
