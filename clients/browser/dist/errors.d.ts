/** What is wrong at one place of a request: `path` is a JSON Pointer into the body; empty: the whole. */
export interface Finding {
    path: string;
    message: string;
}
/**
 * The API refused a request (RFC 9457). Thrown is the class below for its type; this one for what is none of Milepost's, such
 * as a proxy's refusal, and for types newer than this file.
 */
export declare class Problem extends Error {
    /** The URI of its kind; `about:blank`: it says none. */
    readonly type: string;
    readonly status: number;
    readonly traceId: string | undefined;
    /** For invalid input: what is wrong, and where. */
    readonly findings: readonly Finding[];
    /** Seconds after which trying again may help; undefined: the API did not say. */
    readonly retryAfter: number | undefined;
    constructor(status: number, members: Record<string, unknown>, retryAfter?: number);
}
export declare class InvalidRequest extends Problem {
}
export declare class MalformedJson extends Problem {
}
export declare class InvalidPayload extends Problem {
}
export declare class UnknownType extends Problem {
}
export declare class IdempotencyKeyReused extends Problem {
}
export declare class IdempotencyKeyInFlight extends Problem {
}
export declare class WrongState extends Problem {
}
export declare class BadRequest extends Problem {
}
export declare class Unauthenticated extends Problem {
}
export declare class Forbidden extends Problem {
}
export declare class NotFound extends Problem {
}
export declare class MethodNotAllowed extends Problem {
}
export declare class TooLarge extends Problem {
}
export declare class UnsupportedMediaType extends Problem {
}
export declare class TooManyRequests extends Problem {
}
export declare class QuotaExceeded extends Problem {
}
export declare class ServiceUnavailable extends Problem {
}
export declare class InternalError extends Problem {
}
/** The class for each kind of problem, by the last part of its type. */
export declare const PROBLEMS: Readonly<Record<string, typeof Problem>>;
/** Return what an answer other than 2xx says. */
export declare function problemOf(response: Response): Promise<Problem>;
/** Return an answer as it is. Throws Problem for any other than 2xx. */
export declare function checked(response: Response): Promise<Response>;
