import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { EventText } from "../src/sse.ts";

const TEXT =
  'id: 1:2\nevent: snap\ndata: {"t":"snap"}\n\n: still here\r\n\r\ndata:a\r\ndata: b\r\n\r\nevent: x\n\ndata: c\r\r';

test("however the text is cut, the data is the same", () => {
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 0, max: TEXT.length })), (cuts) => {
      const places = [0, ...cuts.sort((a, b) => a - b), TEXT.length];
      const events = new EventText();
      const found = places.flatMap((from, index) => events.push(TEXT.slice(from, places[index + 1])));
      // A lone CR at the very end may be half of a CR LF.
      found.push(...events.push("\n"));
      assert.deepEqual(found, ['{"t":"snap"}', "a\nb", "c"]);
    }),
  );
});
