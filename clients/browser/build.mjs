// node build.mjs            dist/ from src/
// node build.mjs --check    whether dist/ is what src/ gives, and small enough
// node build.mjs --test     the unit tests
import { execFileSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";

const MOST_BYTES = 6 * 1024;
/** Members that modules share with each other only: not on the wire, not of the platform, not for pages. */
const INTERNAL =
  /^(askedAt|calm|folds|hasRoom|heardAt|isAway|isOver|lost|nudge|opened|outbox|pause|phase|polled|refuse|request|resume|retryAt|sent|snapshot|stale|subscriptions|tick)$/;
/** What is loaded when it is needed: from its module to the file that `milepost.js` asks for. */
const LATER = { "./fallback.ts": "./milepost-fallback.js" };
const here = dirname(fileURLToPath(import.meta.url));

/** Return what is built of a module, and `mangleCache`: which names were shortened to what. */
async function script(entry, options) {
  const { outputFiles, mangleCache } = await build({
    entryPoints: [join(here, "src", entry)],
    bundle: true,
    format: "esm",
    target: "es2022",
    minify: true,
    legalComments: "none",
    write: false,
    ...options,
  });
  return { text: outputFiles[0].text, mangleCache };
}

/** Leaves what is loaded later to the page. */
const later = {
  name: "later",
  setup({ onResolve }) {
    onResolve({ filter: /./ }, ({ kind, path }) =>
      kind === "dynamic-import" ? { path: LATER[path], external: true } : undefined,
    );
  },
};

/** Return the declarations of every module that an entry leads to, by file name. */
function declarations(folder) {
  execFileSync(
    process.execPath,
    [join(here, "node_modules/typescript/bin/tsc"), ...["-p", join(here, "tsconfig.types.json"), "--outDir", folder]],
    { stdio: "inherit" },
  );
  const found = {};
  for (const names = ["index.d.ts", "errors.d.ts"]; names.length; ) {
    const name = names.pop();
    if (found[name]) continue;
    found[name] = readFileSync(join(folder, name), "utf8").replaceAll(/from "(\.\/.+?)\.ts"/g, 'from "$1.js"');
    names.push(...[...found[name].matchAll(/from "\.\/(.+?)\.js"/g)].map(([, module]) => `${module}.d.ts`));
  }
  return found;
}

async function test() {
  const folder = mkdtempSync(join(here, ".tests-"));
  try {
    const names = readdirSync(join(here, "test")).filter((name) => name.endsWith(".test.ts"));
    await build({
      entryPoints: names.map((name) => join(here, "test", name)),
      bundle: true,
      format: "esm",
      platform: "node",
      packages: "external",
      sourcemap: "inline",
      outdir: folder,
    });
    const built = names.map((name) => join(folder, name.replace(/ts$/, "js")));
    execFileSync(process.execPath, ["--enable-source-maps", "--test", ...built], { stdio: "inherit" });
  } finally {
    rmSync(folder, { recursive: true });
  }
}

async function wanted() {
  const folder = mkdtempSync(join(tmpdir(), "milepost-types-"));
  try {
    const main = await script("index.ts", { mangleProps: INTERNAL, mangleCache: {}, plugins: [later] });
    // It is handed objects of the first, and so needs the same short names for their members.
    const fallback = await script("fallback.ts", { mangleProps: INTERNAL, mangleCache: main.mangleCache });
    return {
      "milepost.js": main.text,
      "milepost-fallback.js": fallback.text,
      // Errors say the names of their classes.
      "errors.js": (await script("errors.ts", { keepNames: true })).text,
      ...declarations(folder),
    };
  } finally {
    rmSync(folder, { recursive: true });
  }
}

const mode = process.argv[2];
if (mode === "--test") {
  await test().catch(() => process.exit(1));
} else {
  const files = await wanted();
  const sizeOf = (name) => gzipSync(files[name], { level: 9 }).length;
  const size = sizeOf("milepost.js");
  const dist = join(here, "dist");
  if (mode === "--check") {
    const there = readdirSync(dist);
    const differing = Object.keys(files).filter(
      (name) => !there.includes(name) || readFileSync(join(dist, name), "utf8") !== files[name],
    );
    differing.push(...there.filter((name) => !(name in files)));
    if (differing.length) {
      console.error(`dist/ is not what src/ gives: ${differing.join(", ")}. Run: npm run build`);
      process.exit(1);
    }
  } else {
    rmSync(dist, { recursive: true, force: true });
    execFileSync("mkdir", ["-p", dist]);
    for (const [name, text] of Object.entries(files)) writeFileSync(join(dist, name), text);
  }
  console.log(
    `milepost.js: ${size} bytes gzipped, and milepost-fallback.js, when it is needed: ${sizeOf("milepost-fallback.js")}`,
  );
  if (size > MOST_BYTES) {
    console.error(`That is more than ${MOST_BYTES}. Pages load this: find what can go.`);
    process.exit(1);
  }
}
