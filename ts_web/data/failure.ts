/** What went wrong, as the console says it: the daemon's words where it answered, ours where it did not. */
export interface Failure {
  /** HTTP status; 0 when nothing answered. */
  readonly status: number;
  readonly code: string;
  readonly message: string;
  readonly fix: string;
  readonly details: Readonly<Record<string, unknown>>;
}

export const UNREACHABLE: Failure = {
  status: 0,
  code: 'unreachable',
  message: 'The daemon does not answer.',
  fix: 'On its machine, `modelgrid service status` says whether it runs. The console tries again by itself.',
  details: {},
};

interface ErrorShape {
  error?: { code?: string; message?: string; fix?: string; details?: Record<string, unknown> };
}

/** Return the failure that an answer's body tells of. */
export function failureOf(status: number, body: unknown): Failure {
  const error = (body as ErrorShape | undefined)?.error;
  return {
    status,
    code: error?.code ?? 'unexpected',
    message: error?.message ?? `The daemon answered with status ${status}.`,
    fix: error?.fix ?? '',
    details: error?.details ?? {},
  };
}

/** Thrown by `call`. */
export class CallFailed extends Error {
  constructor(readonly failure: Failure) {
    super(failure.message);
  }
}

/** Return what is known of anything that was thrown. */
export function asFailure(error: unknown): Failure {
  if (error instanceof CallFailed) return error.failure;
  if (error instanceof TypeError || error instanceof DOMException) return UNREACHABLE;
  throw error;
}
