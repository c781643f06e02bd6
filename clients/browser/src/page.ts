/** ms of a clock that is never set. */
export function now(): number {
  return performance.now();
}

/** A fault of the page's own code is the page's: it is reported there and does not disturb the stream. */
export function call<A extends unknown[]>(callback: ((...given: A) => void) | undefined, ...given: A): void {
  try {
    callback?.(...given);
  } catch (error) {
    reportError(error);
  }
}
