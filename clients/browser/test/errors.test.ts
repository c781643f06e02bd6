import assert from "node:assert/strict";
import { test } from "node:test";
import { checked, InvalidPayload, NotFound, PROBLEMS, Problem, problemOf } from "../src/errors.ts";

const answer = (status: number, body: unknown, headers: Record<string, string> = {}) =>
  new Response(typeof body === "string" ? body : JSON.stringify(body), { status, headers });

test("each kind of problem is a class of its own, and says its name", async () => {
  for (const [kind, known] of Object.entries(PROBLEMS)) {
    const problem = await problemOf(answer(400, { type: `https://milepost.dev/problems/${kind}`, detail: "Because." }));
    assert.ok(problem instanceof known);
    assert.equal(Object.values(PROBLEMS).filter((each) => problem instanceof each).length, 1);
    assert.deepEqual([problem.name, problem.message, problem.status], [known.name, "Because.", 400]);
  }
});

test("a problem says where, when again, and how to find it in the logs", async () => {
  const body = {
    type: "x/invalid-payload",
    title: "No",
    errors: [{ path: "/to", message: "too small" }],
    trace_id: "ab",
  };
  const problem = await problemOf(answer(422, body, { "Retry-After": "7" }));
  assert.ok(problem instanceof InvalidPayload);
  assert.deepEqual([problem.findings[0]?.path, problem.retryAfter, problem.traceId], ["/to", 7, "ab"]);
  assert.equal(problem.message, "No");
});

test("what is no problem of Milepost's is one all the same", async () => {
  for (const body of ["<html>", "[]", "null", '"x"', '{"type":"x/constructor"}', '{"type":"x/newer"}', "{}"]) {
    const problem = await problemOf(answer(502, body));
    assert.equal(problem.constructor, Problem);
    assert.equal(problem.message, "HTTP 502");
    assert.equal(problem.retryAfter, undefined);
  }
});

test("answers are let through, refusals thrown", async () => {
  const good = answer(200, {});
  assert.equal(await checked(good), good);
  await assert.rejects(checked(answer(404, { type: "x/not-found" })), NotFound);
});
