/** What is wrong at one place of a request: `path` is a JSON Pointer into the body; empty: the whole. */
export interface Finding {
  path: string;
  message: string;
}

/**
 * The API refused a request (RFC 9457). Thrown is the class below for its type; this one for what is none of Milepost's, such
 * as a proxy's refusal, and for types newer than this file.
 */
export class Problem extends Error {
  /** The URI of its kind; `about:blank`: it says none. */
  readonly type: string;
  readonly status: number;
  readonly traceId: string | undefined;
  /** For invalid input: what is wrong, and where. */
  readonly findings: readonly Finding[];
  /** Seconds after which trying again may help; undefined: the API did not say. */
  readonly retryAfter: number | undefined;

  constructor(status: number, members: Record<string, unknown>, retryAfter?: number) {
    super(`${members.detail ?? members.title ?? `HTTP ${status}`}`);
    this.name = new.target.name;
    this.type = `${members.type ?? "about:blank"}`;
    this.status = status;
    this.traceId = typeof members.trace_id === "string" ? members.trace_id : undefined;
    this.findings = Array.isArray(members.errors) ? members.errors : [];
    this.retryAfter = retryAfter;
  }
}

export class InvalidRequest extends Problem {}
export class MalformedJson extends Problem {}
export class InvalidPayload extends Problem {}
export class UnknownType extends Problem {}
export class IdempotencyKeyReused extends Problem {}
export class IdempotencyKeyInFlight extends Problem {}
export class WrongState extends Problem {}
export class BadRequest extends Problem {}
export class Unauthenticated extends Problem {}
export class Forbidden extends Problem {}
export class NotFound extends Problem {}
export class MethodNotAllowed extends Problem {}
export class TooLarge extends Problem {}
export class UnsupportedMediaType extends Problem {}
export class TooManyRequests extends Problem {}
export class QuotaExceeded extends Problem {}
export class ServiceUnavailable extends Problem {}
export class InternalError extends Problem {}

/** The class for each kind of problem, by the last part of its type. */
export const PROBLEMS: Readonly<Record<string, typeof Problem>> = {
  "invalid-request": InvalidRequest,
  "malformed-json": MalformedJson,
  "invalid-payload": InvalidPayload,
  "unknown-type": UnknownType,
  "idempotency-key-reused": IdempotencyKeyReused,
  "idempotency-key-in-flight": IdempotencyKeyInFlight,
  "wrong-state": WrongState,
  "bad-request": BadRequest,
  unauthenticated: Unauthenticated,
  forbidden: Forbidden,
  "not-found": NotFound,
  "method-not-allowed": MethodNotAllowed,
  "too-large": TooLarge,
  "unsupported-media-type": UnsupportedMediaType,
  "too-many-requests": TooManyRequests,
  "quota-exceeded": QuotaExceeded,
  unavailable: ServiceUnavailable,
  internal: InternalError,
};

/** Return what an answer other than 2xx says. */
export async function problemOf(response: Response): Promise<Problem> {
  const body: unknown = await response.json().catch(() => undefined);
  const members = typeof body === "object" && body !== null ? (body as Record<string, unknown>) : {};
  const kind = `${members.type}`.split("/").pop() as string;
  const known = Object.hasOwn(PROBLEMS, kind) ? PROBLEMS[kind] : undefined;
  const wait = Number(response.headers.get("Retry-After") || NaN);
  return new (known ?? Problem)(response.status, members, wait >= 0 ? wait : undefined);
}

/** Return an answer as it is. Throws Problem for any other than 2xx. */
export async function checked(response: Response): Promise<Response> {
  if (response.ok) return response;
  throw await problemOf(response);
}
