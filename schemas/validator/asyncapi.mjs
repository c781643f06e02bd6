// node asyncapi.mjs FILE    whether the AsyncAPI initiative's own parser takes it
import { readFileSync } from "node:fs";
import { Parser } from "@asyncapi/parser";

const [file] = process.argv.slice(2);
const { document, diagnostics } = await new Parser().parse(readFileSync(file, "utf8"), { source: file });
const worst = diagnostics.filter(({ severity }) => severity <= 1); // errors and warnings
for (const { path, message } of worst) console.error(`${path.join(".")}: ${message}`);
if (!document || worst.length) {
  console.error(`${file} is not a valid AsyncAPI document.`);
  process.exit(1);
}
console.log(`${file}: valid, AsyncAPI ${document.version()}`);
